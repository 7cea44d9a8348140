//! Requests that the server itself makes of others: to Weights & Biases, and to webhooks.
//!
//! Each has a thread of its own, so that a server that stops does not wait for one that does not answer. No redirect is
//! followed, no proxy of the environment is used, and what comes back is cut at a limit.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use http::uri::Uri;
use tokio::sync::oneshot;
use ureq::Agent;
use ureq::config::Config;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Longest time for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_MAX_BYTES: u64 = 256 << 10;

/// Where requests may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Everywhere: the operator has named the host.
    Everywhere,
    /// To addresses of the public internet alone. They are checked when the name is resolved, and the connection is made to
    /// the address that was checked.
    #[default]
    Public,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The beginning of the body.
    pub(crate) body: Vec<u8>,
}

/// Makes requests. Clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    agent: Agent,
}

impl Outgoing {
    /// `timeout` is for a whole request, from the look for the host's address to the end of the answer.
    pub(crate) fn new(reach: Reach, timeout: Duration) -> Self {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(timeout))
            .build();
        let resolver = Checked { resolver: DefaultResolver::default(), reach };
        Self { agent: Agent::with_parts(config, DefaultConnector::default(), resolver) }
    }

    /// Sends a request. The error says for people what went wrong; it holds nothing of the request but its host.
    pub(crate) async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Answer, String> {
        let agent = self.agent.clone();
        let (answer, answered) = oneshot::channel();
        let asking = move || {
            // Nobody waits any more when the server has stopped.
            let _ = answer.send(ask(&agent, request));
        };
        let started = std::thread::Builder::new().name("hearth-outgoing".to_owned()).spawn(asking);
        started.map_err(|error| format!("no thread for the request: {error}"))?;
        answered.await.unwrap_or_else(|_| Err("the request ended without an answer".to_owned()))
    }
}

fn ask(agent: &Agent, request: http::Request<Vec<u8>>) -> Result<Answer, String> {
    let response = agent.run(request).map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let read = response.into_body().into_reader().take(ANSWER_MAX_BYTES).read_to_end(&mut body);
    read.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok(Answer { status, body })
}

/// Resolves names, and refuses addresses that are not to be reached.
#[derive(Debug)]
struct Checked {
    resolver: DefaultResolver,
    reach: Reach,
}

impl Resolver for Checked {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.resolver.resolve(uri, config, timeout)?;
        if self.reach == Reach::Public && found.iter().any(|address| !is_public(address.ip())) {
            return Err(ureq::Error::Other(Box::new(NotPublic)));
        }
        Ok(found)
    }
}

/// A name has an address that is not of the public internet.
#[derive(Debug, thiserror::Error)]
#[error("its address is not one of the public internet, and the operator does not allow others")]
struct NotPublic;

/// Whether an address is one of the public internet: not this machine's, not of a network nearby, and not one that is set
/// aside for something else (RFC 6890).
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let set_aside = address.is_unspecified()
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // Between providers and their customers.
        || (a == 100 && (64..128).contains(&b))
        // Protocols, and measurements of networks.
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (b == 18 || b == 19));
    !set_aside
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Addresses that hold one of the older kind are as public as that.
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => inner(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => inner(high, low),
        [0x2002, high, low, ..] => inner(high, low),
        // Teredo, and documentation.
        [0x2001, 0, ..] | [0x2001, 0xdb8, ..] => false,
        // All that is handed out to the internet begins so.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_public_internet() {
        let check = |text: &str, expect: bool| {
            assert_eq!(is_public(text.parse().unwrap()), expect, "{text}");
        };
        for public in ["8.8.8.8", "1.1.1.1", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            check(public, true);
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::127.0.0.1",
        ] {
            check(other, false);
        }
    }

    #[tokio::test]
    async fn names_of_this_machine_are_not_reached_unless_allowed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]"] {
            let request = http::Request::post(format!("http://{host}:{port}/")).body(Vec::new());
            let Ok(request) = request else { continue };
            let outgoing = Outgoing::new(Reach::Public, Duration::from_secs(2));
            assert!(outgoing.send(request).await.is_err(), "{host}");
        }
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody came");
    }
}
