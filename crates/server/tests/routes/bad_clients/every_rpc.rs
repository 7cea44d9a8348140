//! Malformed messages and hostile metadata for every RPC, over a real connection. Each call gets a code that is no defect's,
//! nothing panics, and the server goes on.

use bytes::Bytes;
use h2::client::SendRequest;
use hearth_server::limits::CONTROL_BODY_MAX_BYTES;
use http::{HeaderValue, Request};
use prost::Message;
use prost::encoding::encode_varint;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::Ordering;

use super::fuzz::{PANICS, bytes, call, connect, count_panics, frame, header};
use super::{TEST_TIMEOUT, still_answers};
use crate::coverage::{filled, named, path_of};
use crate::server::Server;

const SEED: u64 = 0x7270_6373;
/// Groups within groups.
const DEPTH: usize = 20_000;
/// Codes that say that the server is at fault: UNKNOWN, INTERNAL, DATA_LOSS.
const DEFECTS: [&str; 3] = ["2", "13", "15"];
/// Texts that want to be elsewhere, or somebody else.
const HOSTILE: [&str; 12] = [
    "",
    "\0",
    "../../../etc/passwd",
    "accounts/default/../other",
    "accounts/default/datasets/%2e%2e",
    "accounts/default/datasets/rows\0",
    "accounts//datasets/",
    "accounts/\u{202e}default",
    "' OR 1=1 --",
    "{{ cycler.__init__.__globals__ }}",
    "\u{1F4A9}\u{0301}\u{FEFF}",
    "-9223372036854775809",
];

/// A number that breaks arithmetic.
fn extreme_number(kind: &Kind, random: &mut StdRng) -> Option<Value> {
    let pick = random.random_range(0..4);
    Some(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32([i32::MIN, -1, 0, i32::MAX][pick]),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64([i64::MIN, -1, 0, i64::MAX][pick]),
        Kind::Uint32 | Kind::Fixed32 => Value::U32([0, 1, u32::MAX - 1, u32::MAX][pick]),
        Kind::Uint64 | Kind::Fixed64 => Value::U64([0, 1, u64::MAX - 1, u64::MAX][pick]),
        Kind::Float => Value::F32([f32::NAN, f32::INFINITY, f32::MIN, f32::MAX][pick]),
        Kind::Double => Value::F64([f64::NAN, f64::NEG_INFINITY, f64::MIN, f64::MAX][pick]),
        Kind::Bool => Value::Bool(true),
        Kind::Enum(_) => Value::EnumNumber([i32::MIN, -1, 99, i32::MAX][pick]),
        _ => return None,
    })
}

/// One extreme value of a field.
fn extreme(kind: &Kind, random: &mut StdRng, depth: usize) -> Value {
    match kind {
        Kind::String => Value::String(HOSTILE[random.random_range(0..HOSTILE.len())].to_owned()),
        Kind::Bytes => Value::Bytes(Bytes::from(bytes(random, 50))),
        Kind::Message(inner) => {
            let mut message = DynamicMessage::new(inner.clone());
            if depth > 0 {
                fill(&mut message, random, depth - 1);
            }
            Value::Message(message)
        }
        number => extreme_number(number, random).expect("all other kinds are numbers"),
    }
}

/// Gives some fields extreme values; names that are there stay.
fn fill(message: &mut DynamicMessage, random: &mut StdRng, depth: usize) {
    let desc: MessageDescriptor = prost_reflect::ReflectMessage::descriptor(message);
    for field in desc.fields() {
        if message.has_field(&field) || field.is_map() || !random.random_bool(0.6) {
            continue;
        }
        let value = extreme(&field.kind(), random, depth);
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        message.set_field(&field, value);
    }
}

/// The head of a field: number and wire type.
fn key(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    encode_varint(u64::from(number << 3 | wire_type), out);
}

fn wire_type(field: &FieldDescriptor) -> u32 {
    match field.kind() {
        _ if field.is_list() || field.is_map() => 2,
        Kind::String | Kind::Bytes | Kind::Message(_) => 2,
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    }
}

/// Messages of an RPC that are wrong in one way each, with what is wrong.
fn spoilt(method: &MethodDescriptor, random: &mut StdRng) -> Vec<(&'static str, Vec<u8>)> {
    let right = named(method, path_of(method.name()));
    let mut all = vec![("empty", Vec::new()), ("random bytes", bytes(random, 300))];
    for _ in 0..4 {
        let mut filled = right.clone();
        fill(&mut filled, random, 3);
        let whole = filled.encode_to_vec();
        let cut = random.random_range(0..=whole.len());
        all.push(("cut off", whole[..cut].to_vec()));
        let mut flipped = whole.clone();
        if !flipped.is_empty() {
            let at = random.random_range(0..flipped.len());
            flipped[at] ^= 1 << random.random_range(0..8);
        }
        all.push(("a bit that is not what it was", flipped));
        all.push(("extreme values", whole));
    }
    for field in method.input().fields() {
        let mut wrong = right.encode_to_vec();
        key(&mut wrong, field.number(), (wire_type(&field) + 1) % 6);
        wrong.extend_from_slice(&[0xff; 12]);
        all.push(("another wire type", wrong));
        if wire_type(&field) == 2 {
            for length in [u64::MAX, i64::MAX as u64, u64::from(u32::MAX)] {
                let mut long = right.encode_to_vec();
                key(&mut long, field.number(), 2);
                encode_varint(length, &mut long);
                long.extend_from_slice(b"abc");
                all.push(("a length that lies", long));
            }
            let mut text = right.encode_to_vec();
            key(&mut text, field.number(), 2);
            encode_varint(4, &mut text);
            text.extend_from_slice(b"\xff\xfe\xc3\x28");
            all.push(("no UTF-8", text));
        }
    }
    // Unknown fields are skipped, groups among them; a group in each other is a recursion.
    let mut groups = Vec::new();
    (0..DEPTH).for_each(|_| key(&mut groups, 1000, 3));
    let mut closed = groups.clone();
    (0..DEPTH).for_each(|_| key(&mut closed, 1000, 4));
    all.extend([("open groups", groups), ("groups in groups", closed)]);
    // Field 0, and a number beyond the largest.
    all.push(("field 0", vec![0, 0]));
    all.push(("a field number of 64 bits", [&[0xff; 9][..], &[1, 0]].concat()));
    all
}

/// A server, its connection, and what came so far.
struct Caller<'a> {
    server: &'a Server,
    client: SendRequest<Bytes>,
    answered: usize,
}

impl Caller<'_> {
    fn request(&self, rpc: &str) -> Request<()> {
        Request::post(format!("{}/gateway.Gateway/{rpc}", self.server.base))
            .header("content-type", "application/grpc")
            .header("x-api-key", &self.server.key)
            .body(())
            .unwrap()
    }

    /// The code of a call; `None` if the connection did not like it.
    async fn call(&mut self, request: Request<()>, body: Vec<u8>, shown: &str) -> Option<String> {
        let answer = tokio::time::timeout(TEST_TIMEOUT, call(&mut self.client, request, body, false)).await;
        let code = answer.unwrap_or_else(|_| panic!("no answer to {shown}")).unwrap_or_default();
        self.client = match self.client.clone().ready().await {
            Ok(client) => client,
            Err(_) => connect(self.server).await,
        };
        self.answered += usize::from(code.is_some());
        code
    }
}

#[test]
fn malformed_messages_and_metadata_get_a_code() {
    count_panics();
    let server = filled();
    let mut random = StdRng::seed_from_u64(SEED);
    let service = hearth_proto::descriptor_pool().get_service_by_name("gateway.Gateway").unwrap();
    let (sent, answered) = server.runtime().block_on(async {
        let mut caller = Caller { server: &server, client: connect(&server).await, answered: 0 };
        let mut sent = 0;
        for method in service.methods() {
            let rpc = method.name();
            for (what, message) in spoilt(&method, &mut random) {
                let shown = format!("{rpc} with {what}: {:02x?}", &message[..message.len().min(200)]);
                let body = frame(0, u32::try_from(message.len()).unwrap(), &message);
                let code = caller.call(caller.request(rpc), body, &shown).await.expect(&shown);
                assert!(!DEFECTS.contains(&code.as_str()), "{shown}: {code}");
                sent += 1;
            }
            let right = named(&method, path_of(rpc)).encode_to_vec();
            let right = frame(0, u32::try_from(right.len()).unwrap(), &right);
            for _ in 0..4 {
                let mut request = caller.request(rpc);
                for _ in 0..random.random_range(1..6) {
                    if let Some((name, value)) = header(&mut random) {
                        request.headers_mut().append(name, value);
                    }
                }
                let shown = format!("{rpc} with {:?}", request.headers());
                let code = caller.call(request, right.clone(), &shown).await.unwrap_or_default();
                assert!(!DEFECTS.contains(&code.as_str()), "{shown}: {code}");
                sent += 1;
            }
        }
        (sent, caller.answered)
    });
    // Metadata that HTTP/2 forbids resets a stream or ends the connection.
    assert!(answered * 10 > sent * 9, "only {answered} of {sent} calls were answered");
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    still_answers(&server);
}

/// What cannot be read is the caller's mistake, and is said in words.
#[test]
fn what_cannot_be_read_is_invalid() {
    let server = filled();
    let headers = [("content-type", "application/grpc"), ("x-api-key", server.key.as_str())];
    let answer = |body: &[u8]| {
        let reply = server.request(&headers, "POST", "/gateway.Gateway/GetDataset", body);
        let message = reply.headers.get("grpc-message").cloned().unwrap_or_default();
        (reply.headers["grpc-status"].clone(), message)
    };
    let too_long = vec![b'x'; CONTROL_BODY_MAX_BYTES + 1];
    for body in [
        frame(0, 3, b"\xff\xff\xff"),
        frame(0, 5, b"\x0a\x03\xff\xfe\xfd"),
        frame(7, 0, b""),
        frame(0, u32::try_from(too_long.len()).unwrap(), &too_long),
    ] {
        let (code, message) = answer(&body);
        assert_eq!(code, "3", "{message}");
        assert!(message.starts_with("the%20message%20cannot%20be%20read"), "{message}");
    }
    let value = HeaderValue::from_static("gzip");
    let mut compressed = headers.to_vec();
    compressed.push(("grpc-encoding", value.to_str().unwrap()));
    let reply = server.request(&compressed, "POST", "/gateway.Gateway/GetDataset", &frame(1, 3, b"abc"));
    assert_eq!(reply.headers["grpc-status"], "12", "compression is not spoken");
}
