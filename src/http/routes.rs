//! Routes, added once to serve them and once to document them.
//!
//! Building documents takes much longer than building routes, and every worker builds the routes.

use actix_web::dev::HttpServiceFactory;
use actix_web::web;
use utoipa_actix_web::OpenApiFactory;
use utoipa_actix_web::service_config::ServiceConfig as Documented;

/// Where a surface adds its routes.
pub(super) trait Routes {
    /// Adds an operation that the surface's document has.
    fn service(
        &mut self,
        operation: impl HttpServiceFactory + OpenApiFactory + 'static,
    ) -> &mut Self;

    /// Adds routes below a path, which is their prefix: a request of another path is held against that alone, where
    /// each route of its own would be a regular expression to be tried.
    fn section(&mut self, path: &'static str, section: impl Section) -> &mut Self;

    /// Adds what no document has.
    fn map(
        &mut self,
        add: impl FnOnce(&mut web::ServiceConfig) -> &mut web::ServiceConfig,
    ) -> &mut Self;
}

/// Routes below a path. What is not among them is nowhere: actix looks no further once the path matched.
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
