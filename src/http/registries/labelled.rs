//! `label`: a parameter of lists that may come several times.

use actix_web::HttpRequest;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle};
use utoipa::openapi::schema::ArrayBuilder;

use crate::domain::labels::{LABELS, Label};
use crate::error::Result;
use crate::http::call::{Head, repeated};
use crate::http::schema::matching;

/// The name of the parameter.
const LABEL: &str = "label";

/// The labels to select by.
#[derive(Debug)]
pub(super) struct Labelled(pub(super) Vec<Label>);

impl Head for Labelled {
    fn read(request: &HttpRequest) -> Result<Self> {
        Label::parse_all(&repeated(request, LABEL)).map(Self)
    }

    fn parameters() -> Vec<Parameter> {
        Self::into_params(|| None)
    }
}

impl IntoParams for Labelled {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let pattern = "^([-a-z0-9.]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?=([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";
        let labels = ArrayBuilder::new()
            .items(matching(pattern))
            .max_items(Some(LABELS))
            .build();
        let label = ParameterBuilder::new()
            .name(LABEL)
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "Only what has this label, such as `team=payments`; of several, all of them. Each in a parameter of its own",
            ))
            .style(Some(ParameterStyle::Form))
            .explode(Some(true))
            .schema(Some(labels))
            .build();
        vec![label]
    }
}
