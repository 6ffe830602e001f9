//! Secrets: those in the file, by name, and those in files of their own, which are read where they are used.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::core::v3::config_source::ConfigSourceSpecifier,
    extensions::transport_sockets::tls::v3::{SdsSecretConfig, Secret as Proto, secret::Type},
    service::discovery::v3::DiscoveryResponse,
};

use super::{Notes, filter::open, tls};
use crate::config::tls::{Certificate, SecretFile, Validation};

/// The secrets of a bootstrap.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeMap<String, Secret>);

/// What a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// A certificate and its key.
    Certificate(Certificate),
    /// Which certificates of peers are believed.
    Validation(Box<Validation>),
}

/// Where a secret is.
enum Place<'a> {
    Here(&'a Secret),
    File(SecretFile),
}

impl Secrets {
    /// Reads `static_resources.secrets`.
    pub(super) fn read(secrets: &[Proto], notes: &mut Notes) -> Self {
        let mut found = BTreeMap::new();
        for (index, it) in secrets.iter().enumerate() {
            let path = format!("static_resources.secrets[{index}]");
            if let Some(content) = content(it, &path, notes)
                && found.insert(it.name.clone(), content).is_some()
            {
                notes.invalid(
                    format!("{path}.name"),
                    format!("the name `{}` is taken by another secret", it.name),
                );
            }
        }
        Self(found)
    }

    /// The certificate that is meant.
    pub(super) fn certificate(
        &self,
        it: &SdsSecretConfig,
        path: &str,
        notes: &mut Notes,
    ) -> Option<Certificate> {
        match self.find(it, path, notes)? {
            Place::Here(Secret::Certificate(it)) => Some(it.clone()),
            Place::Here(_) => {
                notes.invalid(path, format!("the secret `{}` is no certificate", it.name));
                None
            }
            Place::File(file) => Some(Certificate {
                secret: Some(file),
                ..Certificate::default()
            }),
        }
    }

    /// The validation context that is meant, on top of `base`.
    pub(super) fn validation(
        &self,
        it: &SdsSecretConfig,
        base: Option<Validation>,
        path: &str,
        notes: &mut Notes,
    ) -> Option<Validation> {
        let base = base.unwrap_or_default();
        match self.find(it, path, notes)? {
            Place::Here(Secret::Validation(it)) => Some(base.with(it)),
            Place::Here(_) => {
                notes.invalid(
                    path,
                    format!("the secret `{}` is no validation context", it.name),
                );
                None
            }
            Place::File(file) => Some(Validation {
                secret: Some(file),
                ..base
            }),
        }
    }

    fn find(&self, it: &SdsSecretConfig, path: &str, notes: &mut Notes) -> Option<Place<'_>> {
        let Some(source) = &it.sds_config else {
            let found = self.0.get(&it.name);
            if found.is_none() {
                notes.invalid(
                    format!("{path}.name"),
                    format!(
                        "there is no secret `{}` in `static_resources.secrets`",
                        it.name
                    ),
                );
            }
            return found.map(Place::Here);
        };
        #[expect(deprecated, reason = "Envoy still honours it")]
        let file = match &source.config_source_specifier {
            Some(ConfigSourceSpecifier::PathConfigSource(it)) => it.path.clone(),
            Some(ConfigSourceSpecifier::Path(path)) => path.clone(),
            // Others are reported by the walk.
            _ => return None,
        };
        Some(Place::File(SecretFile {
            path: file.into(),
            name: it.name.clone(),
        }))
    }
}

/// The secret of this name among a file's resources.
pub(super) fn named(file: &DiscoveryResponse, name: &str, notes: &mut Notes) -> Option<Secret> {
    let mut secrets = file.resources.iter().enumerate();
    secrets.find_map(|(index, any)| {
        let it = open::<Proto>(any).filter(|it| it.name == name)?;
        content(&it, &format!("resources[{index}]"), notes)
    })
}

/// What the secret is; the notes have why it is nothing.
fn content(it: &Proto, path: &str, notes: &mut Notes) -> Option<Secret> {
    match it.r#type.as_ref() {
        Some(Type::TlsCertificate(it)) => {
            let path = format!("{path}.tls_certificate");
            tls::certificate(it, &path, notes).map(Secret::Certificate)
        }
        Some(Type::ValidationContext(it)) => {
            let validation = tls::validation(it, &format!("{path}.validation_context"), notes);
            Some(Secret::Validation(Box::new(validation)))
        }
        // Others are reported by the walk.
        Some(_) => None,
        None => {
            notes.invalid(
                path,
                "a `tls_certificate` or a `validation_context` is needed",
            );
            None
        }
    }
}
