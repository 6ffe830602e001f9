//! Adaptive concurrency and admission control.

use envoy_types::pb::envoy::{
    config::core::v3::{RuntimeFeatureFlag, RuntimePercent},
    extensions::filters::http::{
        adaptive_concurrency::v3::{
            AdaptiveConcurrency, adaptive_concurrency::ConcurrencyControllerConfig,
        },
        admission_control::v3::{AdmissionControl, admission_control::EvaluationCriteria},
    },
};

use super::{Notes, duration};
use crate::{
    config::{Filter, Named},
    policy::{adaptive, admission},
    unit::Share,
};

/// Reads the settings of adaptive concurrency; `None` where it is off.
pub(super) fn adaptive(it: &AdaptiveConcurrency, path: &str, notes: &mut Notes) -> Option<Filter> {
    if !is_on(it.enabled.as_ref()) {
        return None;
    }
    let Some(ConcurrencyControllerConfig::GradientControllerConfig(gradient)) =
        &it.concurrency_controller_config
    else {
        notes.invalid(path, "a `gradient_controller_config` is needed");
        return None;
    };
    let path = format!("{path}.gradient_controller_config");
    let mut settings = adaptive::Settings::default();
    let percent = |it: Option<f64>| it.and_then(|percent| Share::new(percent / 100.0));
    if let Some(quantile) = percent(gradient.sample_aggregate_percentile.map(|it| it.value)) {
        settings.quantile = quantile;
    }
    if let Some(limit) = &gradient.concurrency_limit_params {
        let path = format!("{path}.concurrency_limit_params");
        if let Some(most) = limit.max_concurrency_limit {
            settings.most = most.value;
        }
        let every = format!("{path}.concurrency_update_interval");
        match duration(limit.concurrency_update_interval.as_ref(), &every, notes) {
            Some(interval) if !interval.is_zero() => settings.update_every = interval,
            _ => notes.invalid(every, "it is needed, and must be above 0"),
        }
    }
    if let Some(best) = &gradient.min_rtt_calc_params {
        let every = format!("{path}.min_rtt_calc_params.interval");
        match duration(best.interval.as_ref(), &every, notes) {
            Some(interval) if !interval.is_zero() => settings.measure_every = interval,
            _ => notes.invalid(every, "it is needed, and must be above 0"),
        }
        if let Some(count) = best.request_count {
            settings.measure_requests = count.value.max(1);
        }
        if let Some(least) = best.min_concurrency {
            settings.least = least.value.max(1);
        }
        if let Some(buffer) = percent(best.buffer.map(|it| it.value)) {
            settings.buffer = buffer;
        }
    }
    let status = it.concurrency_limit_exceeded_status.map(|it| it.code);
    if let Some(status) = status.and_then(|status| u16::try_from(status).ok())
        && status >= 400
    {
        settings.status = status;
    }
    Some(Filter::Adaptive(Box::new(Named {
        name: path,
        settings,
    })))
}

/// Reads the settings of admission control; `None` where it is off.
pub(super) fn admission(it: &AdmissionControl, path: &str, notes: &mut Notes) -> Option<Filter> {
    if !is_on(it.enabled.as_ref()) {
        return None;
    }
    let defaults = admission::Settings::default();
    let share = |it: Option<&RuntimePercent>, default: Share| {
        let percent = it.and_then(|it| it.default_value).map(|it| it.value);
        percent.map_or(default, |it| Share::new(it / 100.0).unwrap_or(default))
    };
    let Some(EvaluationCriteria::SuccessCriteria(criteria)) = &it.evaluation_criteria else {
        notes.invalid(path, "a `success_criteria` is needed");
        return None;
    };
    let successes = criteria.http_criteria.as_ref().map(|http| {
        let ranges = http.http_success_status.iter();
        let bound = |it: i32| u16::try_from(it).unwrap_or(u16::MAX);
        ranges.map(|it| (bound(it.start), bound(it.end))).collect()
    });
    let window = format!("{path}.sampling_window");
    let settings = admission::Settings {
        window: duration(it.sampling_window.as_ref(), &window, notes)
            .filter(|window| !window.is_zero())
            .unwrap_or(defaults.window),
        threshold: share(it.sr_threshold.as_ref(), defaults.threshold),
        aggression: it
            .aggression
            .as_ref()
            .map_or(defaults.aggression, |it| it.default_value),
        most: share(it.max_rejection_probability.as_ref(), defaults.most),
        requests_per_second: it
            .rps_threshold
            .as_ref()
            .map_or(defaults.requests_per_second, |it| it.default_value),
        successes: successes.unwrap_or(defaults.successes),
    };
    let named = Named {
        name: path.to_owned(),
        settings,
    };
    Some(Filter::Admission(Box::new(named), Share::ALL))
}

/// Without a flag it is on, as in Envoy.
fn is_on(it: Option<&RuntimeFeatureFlag>) -> bool {
    it.is_none_or(|it| it.default_value.is_none_or(|value| value.value))
}
