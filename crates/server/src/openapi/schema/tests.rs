//! Messages in, schemas out.

use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, MethodDescriptorProto, OneofDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto,
};

use super::*;

/// A field by its parts.
fn field(name: &str, number: i32, kind: field_descriptor_proto::Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(field_descriptor_proto::Label::Optional.into()),
        r#type: Some(kind.into()),
        ..Default::default()
    }
}

fn of_type(mut field: FieldDescriptorProto, name: &str) -> FieldDescriptorProto {
    field.type_name = Some(name.to_owned());
    field
}

/// One message `t.Thing` that holds itself, a choice, an `optional` field, a wide integer and an enum.
fn pool() -> DescriptorPool {
    use field_descriptor_proto::Type;
    let mut pool = DescriptorPool::global();
    let in_one_of = |mut field: FieldDescriptorProto, index: i32| {
        field.oneof_index = Some(index);
        field
    };
    let mut maybe = in_one_of(field("maybe", 5, Type::Bool), 1);
    maybe.proto3_optional = Some(true);
    let mut many = of_type(field("many_things", 6, Type::Message), ".t.Thing");
    many.label = Some(field_descriptor_proto::Label::Repeated.into());
    let one_of = |name: &str| OneofDescriptorProto { name: Some(name.to_owned()), ..Default::default() };
    let value = |name: &str, number: i32| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..Default::default()
    };
    let thing = DescriptorProto {
        name: Some("Thing".to_owned()),
        field: vec![
            field("size_bytes", 1, Type::Int64),
            of_type(field("color", 2, Type::Enum), ".t.Color"),
            in_one_of(field("left", 3, Type::String), 0),
            in_one_of(field("right", 4, Type::String), 0),
            maybe,
            many,
            of_type(field("until", 7, Type::Message), ".google.protobuf.Timestamp"),
            field("blob", 8, Type::Bytes),
        ],
        oneof_decl: vec![one_of("side"), one_of("_maybe")],
        ..Default::default()
    };
    let request = DescriptorProto {
        name: Some("PutRequest".to_owned()),
        field: vec![of_type(field("thing", 1, Type::Message), ".t.Thing"), field("count", 2, Type::Uint64)],
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some("t.proto".to_owned()),
        package: Some("t".to_owned()),
        syntax: Some("proto3".to_owned()),
        dependency: vec!["google/protobuf/timestamp.proto".to_owned()],
        message_type: vec![thing, request],
        enum_type: vec![EnumDescriptorProto {
            name: Some("Color".to_owned()),
            value: vec![value("NONE", 0), value("RED", 1)],
            ..Default::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("S".to_owned()),
            method: vec![MethodDescriptorProto {
                name: Some("Put".to_owned()),
                input_type: Some(".t.PutRequest".to_owned()),
                output_type: Some(".t.Thing".to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    pool.add_file_descriptor_set(FileDescriptorSet { file: vec![file] }).unwrap();
    pool
}

#[test]
fn messages_become_schemas() {
    let pool = pool();
    let service = pool.get_service_by_name("t.S").unwrap();
    let mut schemas = Schemas::new(&pool, &service);
    let method = service.methods().next().unwrap();
    assert_eq!(schemas.message(&method.output(), Direction::Reply), reference("tThing"));
    assert_eq!(schemas.message(&method.input(), Direction::Request), reference("tPutRequest"));
    let components = schemas.into_components();
    let names: Vec<&str> = components.keys().map(String::as_str).collect();
    assert_eq!(names, ["tColor", "tPutRequest", "tThing", "tThingInput"]);
    assert_eq!(components["tColor"], json!({ "type": "string", "enum": ["NONE", "RED"], "default": "NONE" }));
    let thing = json!({
        "type": "object",
        "properties": {
            "sizeBytes": { "type": "string", "format": "int64", "pattern": INTEGER_PATTERN },
            "color": reference("tColor"),
            "left": { "type": "string" },
            "right": { "type": "string" },
            "maybe": { "type": "boolean" },
            "manyThings": { "type": "array", "items": reference("tThing") },
            "until": { "type": "string", "format": "date-time" },
            "blob": { "type": "string", "format": "byte", "contentEncoding": "base64" },
        },
        "anyOf": [{ "properties": { "right": false } }, { "properties": { "left": false } }],
    });
    assert_eq!(components["tThing"], thing);
    let input = &components["tThingInput"]["properties"];
    assert_eq!(input["sizeBytes"]["type"], json!(["integer", "string", "null"]));
    assert_eq!(input["manyThings"]["type"], json!(["array", "null"]));
    assert_eq!(input["manyThings"]["items"], reference("tThingInput"));
    let color = json!([reference("tColor"), { "type": "integer", "format": "int32" }, { "type": "null" }]);
    assert_eq!(input["color"], json!({ "anyOf": color }));
    let request = &components["tPutRequest"]["properties"];
    assert_eq!(request["thing"], json!({ "anyOf": [reference("tThingInput"), { "type": "null" }] }));
    assert_eq!(request["count"]["pattern"], UNSIGNED_PATTERN);
}

#[test]
fn fields_say_who_writes_them() {
    let pool = hearth_proto::descriptor_pool();
    let mut schemas = Schemas::new(&pool, &crate::transcode::service(&pool));
    let job = pool.get_message_by_name("gateway.SupervisedFineTuningJob").unwrap();
    let found = schemas.message(&job, Direction::Request);
    assert_eq!(
        found,
        json!({ "$ref": "#/components/schemas/gatewaySupervisedFineTuningJobInput", "required": ["dataset"] })
    );
    assert_eq!(schemas.message(&job, Direction::Reply), reference("gatewaySupervisedFineTuningJob"));
    let components = schemas.into_components();
    let job = &components["gatewaySupervisedFineTuningJob"];
    assert_eq!(job.get("required"), None);
    let input = &components["gatewaySupervisedFineTuningJobInput"];
    assert_eq!(input.get("required"), None);
    assert_eq!(input["properties"]["dataset"]["type"], "string");
    assert_eq!(
        job["properties"]["state"],
        json!({ "$ref": "#/components/schemas/gatewayJobState", "readOnly": true })
    );
    assert_eq!(components["gatewayWandbConfigInput"]["properties"]["apiKey"]["writeOnly"], true);
    let shown = &components["gatewayWandbConfig"]["properties"]["apiKey"];
    assert_eq!((&shown["maxLength"], shown.get("writeOnly")), (&json!(0), None));
}
