//! Labels on the wire.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::labels::{LABEL_LENGTH, LABELS, Labels};
use crate::domain::patch::Patch;
use crate::error::Result;
use crate::http::schema::matching;

/// Labels as a client sends them.
pub(super) type SentLabels = BTreeMap<String, String>;

/// Reads labels: null is none, absent is `None`.
pub(super) fn to_labels(sent: Patch<SentLabels>) -> Result<Option<Labels>> {
    let sent = sent.change().map(Option::unwrap_or_default);
    sent.map(Labels::parse).transpose()
}

/// The labels of a thing.
pub(super) struct LabelsSchema;

impl PartialSchema for LabelsSchema {
    fn schema() -> RefOr<Schema> {
        let mut value = matching("^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$");
        value.max_length = Some(LABEL_LENGTH);
        let mut labels = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(
                "Up to 16 names with values to select by, in the syntax of Kubernetes. A name is 1 to 63 letters, digits, \
                 `-`, `_` and `.`, a letter or digit first and last; a DNS name in lower case of at most 253 characters \
                 and `/` may come before. No secrets: everybody who sees the thing can read them",
            ))
            .additional_properties(Some(Schema::from(value)))
            .max_properties(Some(LABELS))
            .build();
        // As in `schema::text`.
        labels.example = Some(json!({"team": "payments", "example.com/environment": "production"}));
        labels.into()
    }
}

impl ToSchema for LabelsSchema {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Labels")
    }
}
