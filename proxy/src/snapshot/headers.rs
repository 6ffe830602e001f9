//! Header operations, compiled: what routes, weighted clusters and filters do to the messages that pass.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config,
    policy::{
        authz, cors,
        format::{Format, field::Message},
        headers::{Compiled, Edits, Mutations},
        jwt, query, rbac,
    },
};

/// What one level does.
#[derive(Debug)]
pub struct Level {
    /// To requests.
    pub request: Compiled,
    /// To answers.
    pub answer: Compiled,
    /// What is done to answers looks at the request's headers.
    pub recalls: bool,
}

/// What a filter does.
#[derive(Debug)]
pub struct Steps {
    /// To requests.
    pub request: Mutations,
    /// To the parameters of their paths.
    pub query: query::Changes,
    /// To what follows requests.
    pub request_trailers: Mutations,
    /// To answers.
    pub answer: Mutations,
    /// To what follows answers.
    pub answer_trailers: Mutations,
    /// What is done to answers looks at the request's headers.
    pub recalls: bool,
}

/// Levels are shared by routes: each is compiled once.
#[derive(Debug, Default)]
pub(super) struct Cache {
    levels: HashMap<*const Edits, Arc<Level>>,
    steps: HashMap<*const config::Steps, Arc<Steps>>,
    authz: HashMap<*const authz::Settings, Arc<authz::Compiled>>,
    cors: HashMap<*const cors::Policy, Arc<cors::Compiled>>,
    jwt: HashMap<*const jwt::Settings, Arc<jwt::Compiled>>,
    rbac: HashMap<*const rbac::Settings, Arc<rbac::Compiled>>,
}

impl Cache {
    pub(super) fn level(&mut self, edits: &Arc<Edits>) -> Result<Arc<Level>, String> {
        let key = Arc::as_ptr(edits);
        if let Some(level) = self.levels.get(&key) {
            return Ok(Arc::clone(level));
        }
        let answer = Compiled::new(&edits.response)?;
        let level = Arc::new(Level {
            request: Compiled::new(&edits.request)?,
            recalls: recalls(answer.formats()),
            answer,
        });
        self.levels.insert(key, Arc::clone(&level));
        Ok(level)
    }

    pub(super) fn steps(&mut self, steps: &Arc<config::Steps>) -> Result<Arc<Steps>, String> {
        let key = Arc::as_ptr(steps);
        if let Some(steps) = self.steps.get(&key) {
            return Ok(Arc::clone(steps));
        }
        let answer = Mutations::new(&steps.response)?;
        let answer_trailers = Mutations::new(&steps.response_trailers)?;
        let compiled = Arc::new(Steps {
            request: Mutations::new(&steps.request)?,
            query: query::Changes::new(&steps.query)?,
            request_trailers: Mutations::new(&steps.request_trailers)?,
            recalls: recalls(answer.formats().chain(answer_trailers.formats())),
            answer,
            answer_trailers,
        });
        self.steps.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }
}

impl Cache {
    pub(super) fn cors(
        &mut self,
        policy: &Arc<cors::Policy>,
    ) -> Result<Arc<cors::Compiled>, String> {
        let key = Arc::as_ptr(policy);
        if let Some(policy) = self.cors.get(&key) {
            return Ok(Arc::clone(policy));
        }
        let compiled = Arc::new(cors::Compiled::new(policy)?);
        self.cors.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    pub(super) fn authz(
        &mut self,
        settings: &Arc<authz::Settings>,
    ) -> Result<Arc<authz::Compiled>, String> {
        let key = Arc::as_ptr(settings);
        if let Some(service) = self.authz.get(&key) {
            return Ok(Arc::clone(service));
        }
        let compiled = Arc::new(authz::Compiled::new(settings)?);
        self.authz.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    pub(super) fn jwt(
        &mut self,
        settings: &Arc<jwt::Settings>,
    ) -> Result<Arc<jwt::Compiled>, String> {
        let key = Arc::as_ptr(settings);
        if let Some(tokens) = self.jwt.get(&key) {
            return Ok(Arc::clone(tokens));
        }
        let compiled = Arc::new(jwt::Compiled::new(settings)?);
        self.jwt.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }

    pub(super) fn rbac(
        &mut self,
        settings: &Arc<rbac::Settings>,
    ) -> Result<Arc<rbac::Compiled>, String> {
        let key = Arc::as_ptr(settings);
        if let Some(policies) = self.rbac.get(&key) {
            return Ok(Arc::clone(policies));
        }
        let compiled = Arc::new(rbac::Compiled::new(settings)?);
        self.rbac.insert(key, Arc::clone(&compiled));
        Ok(compiled)
    }
}

/// Whether a format looks at the request's headers.
pub(super) fn recalls<'a>(mut formats: impl Iterator<Item = &'a Format>) -> bool {
    formats.any(|format| format.headers().any(|(of, _)| of == Message::Request))
}
