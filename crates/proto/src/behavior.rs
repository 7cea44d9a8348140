//! Who may write a field: the `google.api.field_behavior` options of the `.proto` files.

use prost_reflect::FieldDescriptor;

use crate::POOL;
use crate::google::api::FieldBehavior;

/// What the options of a field say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// The server writes it; what a client sends in it means nothing.
    OutputOnly,
    /// The client writes it, and it is never sent back.
    InputOnly,
    /// A request must have it.
    Required,
    /// Nothing of this.
    Optional,
}

/// The behaviour of a field. Panics on two that exclude each other: the descriptors are compiled in.
pub fn behavior(field: &FieldDescriptor) -> Behavior {
    let extension =
        POOL.get_extension_by_name("google.api.field_behavior").expect("the descriptors have the option");
    let options = field.options();
    let value = options.get_extension(&extension);
    let values = value.as_list().unwrap_or_default().iter().filter_map(prost_reflect::Value::as_enum_number);
    let mut found = Behavior::Optional;
    for value in values {
        let one = match FieldBehavior::try_from(value) {
            Ok(FieldBehavior::OutputOnly) => Behavior::OutputOnly,
            Ok(FieldBehavior::InputOnly) => Behavior::InputOnly,
            Ok(FieldBehavior::Required) => Behavior::Required,
            _ => continue,
        };
        assert_eq!(found, Behavior::Optional, "{} has two behaviours", field.full_name());
        found = one;
    }
    found
}
