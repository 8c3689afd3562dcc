//! What a schema expected, in words that never hold what was found.

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::visible::{quoted, shown};

/// What the schema expected of the field.
pub(super) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind } => match kind {
            TypeKind::Single(one) => format!("the type `{one}`"),
            TypeKind::Multiple(many) => {
                let types: Vec<_> = many.iter().map(|one| format!("`{one}`")).collect();
                format!("one of the types {}", types.join(", "))
            }
        },
        Kind::Enum { options } => format!("one of {}", shown(&options.to_string())),
        Kind::Constant { expected_value } => shown(&expected_value.to_string()),
        Kind::Minimum { limit } => format!("at least {limit}"),
        Kind::Maximum { limit } => format!("at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("at least {limit} characters"),
        Kind::MaxLength { limit } => format!("at most {limit} characters"),
        Kind::MinItems { limit } => format!("at least {limit} elements"),
        Kind::MaxItems { limit } => format!("at most {limit} elements"),
        Kind::AdditionalItems { limit } => format!("at most {limit} elements"),
        Kind::MinProperties { limit } => format!("at least {limit} fields"),
        Kind::MaxProperties { limit } => format!("at most {limit} fields"),
        Kind::UniqueItems => "elements that all differ".to_owned(),
        Kind::UnevaluatedItems { .. } => "no further elements".to_owned(),
        Kind::Pattern { pattern } => format!("a match of {}", quoted(pattern)),
        Kind::Format { format } => format!("the format {}", quoted(format)),
        Kind::FalseSchema => "nothing here".to_owned(),
        Kind::Contains => "the elements that `contains` asks for".to_owned(),
        Kind::PropertyNames { .. } => "names of fields as `propertyNames` says".to_owned(),
        Kind::AnyOf { context } => format!("one of {} alternatives", context.len()),
        Kind::OneOfNotValid { context } | Kind::OneOfMultipleValid { context } => {
            format!("exactly one of {} alternatives", context.len())
        }
        other => format!("what `{}` says", other.keyword()),
    }
}

/// The field that is missing or unknown, if that is what is wrong.
pub(super) enum Field<'k> {
    /// It is not there.
    Missing(&'k str),
    /// It is not known.
    Unknown(&'k str),
    /// It is something else.
    Other,
}

/// Which field `error` is about, if `whole` is what was validated.
pub(super) fn field<'e>(error: &'e ValidationError<'_>, whole: &'e Value) -> Field<'e> {
    let first = |names: Option<&'e str>| names.map_or(Field::Other, Field::Unknown);
    match error.kind() {
        Kind::Required {
            property: Value::String(name),
        } => Field::Missing(name),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            first(unexpected.first().map(String::as_str))
        }
        // How it is put for an object that knows no field at all.
        Kind::FalseSchema
            if error
                .schema_path()
                .as_str()
                .ends_with("/additionalProperties") =>
        {
            let object = whole.pointer(error.instance_path().as_str());
            let fields = object.and_then(Value::as_object);
            first(
                fields
                    .and_then(|fields| fields.keys().next())
                    .map(String::as_str),
            )
        }
        _ => Field::Other,
    }
}
