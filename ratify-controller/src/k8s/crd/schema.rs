//! The parts of a schema that a Rust type does not say by itself.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object of which nothing is known.
pub(super) fn free(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A list of such objects.
pub(super) fn free_list(_: &mut SchemaGenerator) -> Schema {
    let item = json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json_schema!({ "type": "array", "items": item })
}

/// A point in time (RFC 3339).
pub(super) fn date_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// A text that the API server fills in as empty, as v1's definitions do.
pub(super) fn no_default_interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "default": "" })
}
