//! What the documents say of keys and headers, tried on a running gateway.

use super::program::{Gateway, Service};
use super::tables::{Set, captures, marked, name, table};
use keygate::domain::key::{KeyFormat, PlainKey};
use std::fmt::Write;

#[test]
fn scopes_and_routes_open_what_the_table_says() {
    let service = Service::start();
    let rows = table("docs/keys.md", "What a key may do");
    let mut keys = String::new();
    for (number, row) in rows.iter().enumerate() {
        let routes = match &*row[2] {
            "no list" => "null",
            "yes" => "[asked]",
            _ => "[other]",
        };
        let scopes = marked(&row[1]).join(", ");
        let hash = PlainKey::new(format!("key-{number}")).hash().at_rest();
        writeln!(
            keys,
            "  - {{ name: k{number}, hash: \"{hash}\", scopes: [{scopes}], routes: {routes} }}"
        )
        .unwrap();
    }
    for demand in ["`orders:read`", "nothing"] {
        let auth = marked(demand).first().map_or(String::new(), |scope| {
            format!(", auth: {{ scopes: {scope} }}")
        });
        let rest = format!(
            "upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\nroutes:\n  \
             - {{ name: asked, match: {{}}, upstream: app{auth} }}\n  \
             - {{ name: other, match: {{ path: /other/ }}, upstream: app }}\nkeys:\n{keys}",
            service.address
        );
        let gateway = Gateway::start(&rest, "");
        for (number, row) in rows.iter().enumerate().filter(|(_, row)| row[0] == demand) {
            let (status, body) = gateway.call("/", &[&format!("x-api-key: key-{number}")]);
            let code = marked(&row[3]).first().cloned();
            assert_eq!(status, if code.is_some() { 403 } else { 200 }, "{row:?}");
            assert!(
                code.is_none_or(|code| body.contains(&code)),
                "{row:?}\n{body}"
            );
        }
    }
    assert_eq!(rows.len(), 8);
}

#[test]
fn the_service_is_told_what_the_table_says() {
    let service = Service::start();
    let key = KeyFormat::default().generate("live").unwrap();
    let rest = format!(
        "forwarding: {{ via: true, forwarded: true }}\n\
         upstreams: {{ app: {{ endpoints: [\"http://{}\"] }} }}\n\
         routes: [{{ name: app, match: {{}}, upstream: app, forward_metadata: true, auth: {{ scopes: a }} }}]\n\
         keys: [{{ name: ci, secret: file:key, scopes: [a], metadata: {{ plan: gold }} }}]\n",
        service.address
    );
    let gateway = Gateway::start(&rest, key.expose());
    assert_eq!(
        gateway
            .call("/", &[&format!("x-api-key: {}", key.expose())])
            .0,
        200
    );
    let real = captures(r"(?m)^([A-Za-z-]+): ", &service.last().to_ascii_lowercase());
    let listed: Set = table("docs/request-path.md", "Preparing the request")
        .iter()
        .map(|row| name(&row[0]).to_ascii_lowercase())
        .collect();
    assert_eq!(listed, real);
}
