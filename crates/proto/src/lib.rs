//! The wire contract: what clients and the server say to each other.
//!
//! # What it is for
//! `proto/gateway/*.proto` define the `gateway.Gateway` service: names, field numbers and HTTP bindings as the
//! public clients speak them. `build.rs` compiles them into [`gateway`] and into an embedded descriptor set.
//!
//! # Data flow
//! gRPC uses the generated types as they are. REST and the OpenAPI document are read off
//! [`descriptor_pool`]: the messages for JSON, the `google.api.http` options ([`http_rule`]) for paths.
//!
//! # Neighbours
//! `server` implements the service, `client` calls it. No other crate sees these types.
//!
//! # Invariants
//! Fields and enum values whose true number is not known are numbered from 1000 up. Nothing here knows what a
//! field means: defaults and rules live in `domain`. Messages that hold a secret are printed without it. The types carry no serde: JSON goes through descriptors.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};

pub mod behavior;
pub mod names;
mod redacted;

/// Generated from `proto/`; documented there.
#[allow(missing_docs, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

pub use generated::{gateway, google};

/// The encoded `FileDescriptorSet` of all files, with imports, options and comments.
const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The encoded `FileDescriptorSet` of all files, for reflection.
pub fn file_descriptor_set() -> &'static [u8] {
    FILE_DESCRIPTOR_SET
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the build script wrote a valid descriptor set")
});

/// Descriptors of every message, enum, service and extension.
pub fn descriptor_pool() -> DescriptorPool {
    POOL.clone()
}

/// The `google.api.http` option of an RPC, as a dynamic `google.api.HttpRule`; `None` for an RPC without one.
pub fn http_rule(method: &MethodDescriptor) -> Option<DynamicMessage> {
    let extension = POOL.get_extension_by_name("google.api.http")?;
    let options = method.options();
    if !options.has_extension(&extension) {
        return None;
    }
    options.get_extension(&extension).as_message().cloned()
}

#[cfg(test)]
mod tests;
