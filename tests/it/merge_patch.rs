//! PATCH of `metadata`: merged entry by entry (RFC 7396).

use crate::harness::Upstream;
use crate::workspaces::stored;
use serde_json::{Value, json};

#[test]
fn metadata_is_merged_entry_by_entry() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for kind in ["keys", "consumers", "workspaces"] {
        let body = json!({"name": "one", "metadata": {"a": "1", "b": "2"}});
        let made = gateway.api("POST", &format!("/v1/{kind}"), body).must(201);
        let id = made.pointer("/key/id").unwrap_or(&made["id"]);
        let path = format!("/v1/{kind}/{}", id.as_str().unwrap());
        let edit = |metadata: Value| gateway.api("PATCH", &path, json!({"metadata": metadata}));
        for (given, want) in [
            (json!({}), json!({"a": "1", "b": "2"})),
            (json!({"a": null}), json!({"b": "2"})),
            (json!({"c": "3", "b": "4"}), json!({"b": "4", "c": "3"})),
            (json!({"unknown": null}), json!({"b": "4", "c": "3"})),
            (Value::Null, json!({})),
            (json!({"d": ""}), json!({"d": ""})),
        ] {
            let patched = edit(given.clone()).must(200);
            assert_eq!(patched["metadata"], want, "{kind}: {given}");
            let shown = gateway.api("GET", &path, None).must(200);
            assert_eq!(shown["metadata"], want, "{kind}: {given}");
        }
        // What is absent stays, and limits hold for what becomes of it.
        let name = gateway.api("PATCH", &path, json!({"name": "two"}));
        assert_eq!(name.must(200)["metadata"], json!({"d": ""}), "{kind}");
        let many: serde_json::Map<_, _> = (0..32).map(|n| (format!("n{n}"), "".into())).collect();
        for (wrong, pointer) in [
            (json!({"e": 1}), "/metadata/e"),
            (json!({"e/f": {}}), "/metadata/e~1f"),
            (json!([]), "/metadata"),
            (Value::Object(many), "/metadata"),
        ] {
            let answer = edit(wrong.clone()).must(422);
            assert_eq!(answer["errors"][0]["pointer"], pointer, "{kind}: {wrong}");
        }
        assert_eq!(
            gateway.api("GET", &path, None).must(200)["metadata"],
            json!({"d": ""}),
            "{kind}"
        );
    }
}

/// PUT says all of it, and so does POST: there is nothing to merge with.
#[test]
fn metadata_that_is_put_takes_the_place_of_all() {
    let upstream = Upstream::ok();
    let gateway = stored(&upstream);
    for kind in ["keys", "consumers", "workspaces"] {
        let body = json!({"name": "one", "metadata": {"a": "1", "b": "2"}});
        let made = gateway.api("POST", &format!("/v1/{kind}"), body).must(201);
        let id = made.pointer("/key/id").unwrap_or(&made["id"]);
        let path = format!("/v1/{kind}/{}", id.as_str().unwrap());
        let body = json!({"name": "one", "metadata": {"c": "3"}});
        let put = gateway.api("PUT", &path, body).must(200);
        assert_eq!(put["metadata"], json!({"c": "3"}), "{kind}");
        for (method, path) in [("PUT", &*path), ("POST", &format!("/v1/{kind}"))] {
            let body = json!({"name": "other", "metadata": {"c": null}});
            let answer = gateway.api(method, path, body).must(422);
            assert_eq!(
                answer["errors"][0]["pointer"], "/metadata/c",
                "{method} {kind}"
            );
        }
    }
}
