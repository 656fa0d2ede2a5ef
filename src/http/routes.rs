//! Routes, added once to serve them and once to document them: every worker builds the routes, and building documents
//! takes much longer.

use actix_web::dev::HttpServiceFactory;
use actix_web::web;
use utoipa_actix_web::OpenApiFactory;
use utoipa_actix_web::service_config::ServiceConfig as Documented;

/// The target to which a surface adds its routes.
pub(super) trait Routes {
    /// Adds an operation of the surface's document.
    fn service(
        &mut self,
        operation: impl HttpServiceFactory + OpenApiFactory + 'static,
    ) -> &mut Self;

    /// Adds routes with a common prefix. A request of another path is compared with the prefix only, and not with a
    /// regular expression for each route.
    fn section(&mut self, path: &'static str, section: impl Section) -> &mut Self;

    /// Adds a route that is in no document.
    fn map(
        &mut self,
        add: impl FnOnce(&mut web::ServiceConfig) -> &mut web::ServiceConfig,
    ) -> &mut Self;
}

/// Routes with a common prefix. Once the prefix matches, actix tries no other routes.
pub(super) trait Section {
    /// Adds them.
    fn routes(self, config: &mut impl Routes);
}

impl Routes for web::ServiceConfig {
    fn service(
        &mut self,
        operation: impl HttpServiceFactory + OpenApiFactory + 'static,
    ) -> &mut Self {
        self.service(operation)
    }

    fn section(&mut self, path: &'static str, section: impl Section) -> &mut Self {
        self.service(web::scope(path).configure(|config| section.routes(config)))
    }

    fn map(
        &mut self,
        add: impl FnOnce(&mut web::ServiceConfig) -> &mut web::ServiceConfig,
    ) -> &mut Self {
        add(self)
    }
}

impl Routes for Documented<'_> {
    fn service(
        &mut self,
        operation: impl HttpServiceFactory + OpenApiFactory + 'static,
    ) -> &mut Self {
        self.service(operation)
    }

    fn section(&mut self, path: &'static str, section: impl Section) -> &mut Self {
        self.service(utoipa_actix_web::scope(path).configure(|config| section.routes(config)))
    }

    fn map(
        &mut self,
        add: impl FnOnce(&mut web::ServiceConfig) -> &mut web::ServiceConfig,
    ) -> &mut Self {
        self.map(add)
    }
}
