//! `GET /v1/accounts/{account}/secrets`.

use super::{SECRETS, made, without_value};
use crate::list_rules::every_value_is_found;
use crate::server::Server;

#[test]
fn lists_show_no_values_and_filters_tell_none() {
    let server = Server::start();
    for id in ["a", "b", "c"] {
        made(&server, id).ok();
    }
    every_value_is_found(&server, SECRETS);
    let page = without_value(server.get(&format!("{SECRETS}?pageSize=2&orderBy=name%20desc"))).ok();
    assert_eq!(
        (&page["totalSize"], &page["secrets"][0]["name"]),
        (&3.into(), &"accounts/default/secrets/c".into())
    );
    let token = page["nextPageToken"].as_str().unwrap();
    let rest = server.get(&format!("{SECRETS}?pageSize=2&orderBy=name%20desc&pageToken={token}")).ok();
    assert_eq!(rest["secrets"].as_array().unwrap().len(), 1);
    // A filter over values finds what every reply shows: nothing.
    for filter in ["value=hunter2-hush", "value:hunter2", "value>h"] {
        let found = server.get(&format!("{SECRETS}?filter={}", filter.replace('>', "%3E"))).ok();
        assert_eq!(found["totalSize"], 0, "{filter}");
    }
    assert_eq!(server.get(&format!("{SECRETS}?orderBy=value")).ok()["totalSize"], 3);
}
