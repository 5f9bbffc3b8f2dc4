//! What strangers make of a listener under TLS: a scanner for weak ciphers and known holes, and load over both versions.

use super::{bounded, under_tls};
use crate::harness::{Gateway, KEY, Upstream};
use regex::Regex;
use std::collections::BTreeSet;

fn out(output: &std::process::Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{complaint}");
    text
}

/// What stands in a pattern's groups, joined by blanks, wherever it fits.
fn all(text: &str, pattern: &str) -> BTreeSet<String> {
    let fits = Regex::new(pattern).unwrap();
    let joined = |found: regex::Captures<'_>| {
        let groups = found.iter().skip(1).flatten();
        groups
            .map(|part| part.as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    fits.captures_iter(text).map(joined).collect()
}

fn set(items: &[&str]) -> BTreeSet<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn sslscan_finds_nothing_weak() {
    let upstream = Upstream::ok();
    let gateway = under_tls(upstream.address);
    let address = gateway.address.to_string();
    let said = out(&bounded(
        "sslscan",
        "sslscan",
        &[
            "--xml=-",
            "--show-certificate",
            "--sni-name=localhost",
            &address,
        ],
    ));
    let versions = all(
        &said,
        r#"<protocol type="(\S+)" version="(\S+)" enabled="1""#,
    );
    assert_eq!(versions, set(&["tls 1.2", "tls 1.3"]), "{said}");
    let ciphers = all(
        &said,
        r#"<cipher status="\S+" sslversion="(\S+)" .*? cipher="(\S+)""#,
    );
    let wanted = [
        "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLSv1.3 TLS_AES_128_GCM_SHA256",
        "TLSv1.3 TLS_AES_256_GCM_SHA384",
        "TLSv1.3 TLS_CHACHA20_POLY1305_SHA256",
    ];
    assert_eq!(ciphers, set(&wanted), "{said}");
    let strengths = all(&said, r#"<cipher .*strength="(\S+)""#);
    assert!(
        strengths.is_subset(&set(&["strong", "acceptable"])),
        "{said}"
    );
    assert!(said.contains("<renegotiation supported=\"0\""), "{said}");
    let bleeding = all(&said, r#"<heartbleed .* vulnerable="(\d)""#);
    assert_eq!(bleeding, set(&["0"]), "{said}");
    assert!(said.contains("<subject><![CDATA[own]]>"), "{said}");
    assert!(said.contains("<issuer><![CDATA[authority ca]]>"), "{said}");
    assert!(
        said.contains("DNS:localhost, IP Address:127.0.0.1"),
        "{said}"
    );
    assert!(said.contains("<expired>false</expired>"), "{said}");
}

fn load(gateway: &Gateway, more: &[&str]) -> String {
    let key = format!("x-api-key: {KEY}");
    let url = format!("https://localhost:{}/", gateway.address.port());
    let arguments = [&["-n", "2000", "-c", "8", "-H", &key], more, &[&url]].concat();
    out(&bounded("nghttp2-client", "h2load", &arguments))
}

#[test]
fn h2load_under_tls_over_both_versions() {
    let upstream = Upstream::ok();
    let gateway = under_tls(upstream.address);
    for (more, protocol) in [(&["-m", "20"][..], "h2"), (&["--h1"], "http/1.1")] {
        let said = load(&gateway, more);
        assert!(
            said.contains("2000 succeeded, 0 failed, 0 errored"),
            "{said}"
        );
        assert!(said.contains("status codes: 2000 2xx"), "{said}");
        assert!(said.contains("TLS Protocol: TLSv1.3"), "{said}");
        assert!(
            said.contains(&format!("Application protocol: {protocol}\n")),
            "{said}"
        );
    }
    let counted = gateway.metric("keygate_http_requests_total", &[("route", "app")]);
    assert_eq!(counted, 4000.0);
}

#[test]
fn nghttp_sees_both_streams_of_one_connection() {
    let upstream = Upstream::ok();
    let gateway = under_tls(upstream.address);
    let (key, url) = (
        format!("x-api-key: {KEY}"),
        format!("https://localhost:{}", gateway.address.port()),
    );
    let (one, two) = (format!("{url}/one"), format!("{url}/two"));
    let said = out(&bounded(
        "nghttp2-client",
        "nghttp",
        &["-nvy", "--no-push", "-H", &key, &one, &two],
    ));
    assert!(said.contains("The negotiated protocol: h2"), "{said}");
    assert_eq!(said.matches(":status: 200").count(), 2, "{said}");
    assert!(!said.contains("RST_STREAM"), "{said}");
    let labels = [("listener", "main"), ("result", "ok")];
    let handshakes = gateway.metric("keygate_tls_handshakes_total", &labels);
    assert_eq!((handshakes, upstream.received().len()), (1.0, 2));
}

/// A `ClientHello` of TLS 1.2 that offers these methods of compression.
fn hello(compression: &[u8]) -> Vec<u8> {
    let named = |kind: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).unwrap();
        [&kind.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
    };
    // Groups x25519 and P-256; points as they are; ecdsa_secp256r1_sha256.
    let extensions = [
        named(10, &[0, 4, 0, 29, 0, 23]),
        named(11, &[1, 0]),
        named(13, &[0, 2, 4, 3]),
    ]
    .concat();
    let suites = [0, 2, 0xC0, 0x2B];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &suites,
        &[u8::try_from(compression.len()).unwrap()],
        compression,
        &u16::try_from(extensions.len()).unwrap().to_be_bytes(),
        &extensions,
    ]
    .concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

/// sslscan asks with OpenSSL, which has lost the word for it.
#[test]
fn nothing_is_compressed_below_http() {
    let upstream = Upstream::ok();
    let gateway = under_tls(upstream.address);
    let mut client = gateway.client();
    client.send(hello(&[1, 0]));
    let record = client.exactly(5);
    let length = usize::from(record[3]) << 8 | usize::from(record[4]);
    let answer = client.exactly(length);
    assert_eq!((record[0], answer[0]), (22, 2), "a ServerHello");
    // Behind kind, length, version, random and session are the suite and the method.
    let session = usize::from(answer[38]);
    assert_eq!(answer[39 + session..42 + session], [0xC0, 0x2B, 0]);
    // Compression and nothing else: an alert.
    let mut client = gateway.client();
    client.send(hello(&[1]));
    assert_eq!(client.exactly(1), [21]);
}
