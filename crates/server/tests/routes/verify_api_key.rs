//! `GET /verifyApiKey`.

use crate::server::Server;

#[test]
fn headers_say_whose_key_it_is() {
    let server = Server::start();
    let acme = server.account("acme");
    for headers in [[("authorization", format!("Bearer {acme}"))], [("x-api-key", acme.clone())]] {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = server.request(&headers, "GET", "/verifyApiKey", b"");
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b""[..]));
        assert_eq!(reply.headers["x-fireworks-account-id"], "acme");
        assert_eq!(reply.headers["x-fireworks-developer-email"], "dev@acme.example");
        assert_eq!(reply.headers["x-request-id"].len(), 16);
    }
    let wrong = server.send_as(Some("fw_wrong"), "GET", "/verifyApiKey", b"");
    assert_eq!(wrong.error(), (401, 16, "the API key is not valid".to_owned()));
    assert_eq!(server.send_as(None, "GET", "/verifyApiKey", b"").status, 401);
}
