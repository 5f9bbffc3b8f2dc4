//! The document of the API, finished: what the annotations of the handlers cannot say is written into it here, from the
//! same lists that the handlers read by. A request that the document allows is refused for its meaning only.

mod forms;

use super::policy;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Collections whose objects are changed by version.
const VERSIONED: [&str; 5] = ["keys", "consumers", "workspaces", "members", "webhooks"];
/// Parameters of the list of keys that are no filters.
const NO_FILTERS: [&str; 4] = ["limit", "cursor", "sort", "total"];

/// Finishes the document that the annotations make.
pub(super) fn finish(document: &utoipa::openapi::OpenApi) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(document)?;
    let tags = forms::TAGS.map(|(name, words)| json!({"name": name, "description": words}));
    document["tags"] = tags.to_vec().into();
    document["servers"] = json!([{"url": "/"}]);
    let mut bodies = BTreeSet::new();
    let mut refusals = Map::new();
    let targets = link_targets(&document);
    for (path, operations) in members(&mut document["paths"]) {
        for (method, operation) in members(operations) {
            parameters(operation);
            if_match(path, method, operation);
            request_body(operation, &mut bodies);
            answers(operation, &mut refusals);
            links(path, operation, &targets);
            if policy::is_leaving(method, path) {
                operation["deprecated"] = true.into();
            }
        }
    }
    document["components"]["responses"] = refusals.into();
    import(&mut document["components"]["schemas"]);
    fields(&mut document["components"]["schemas"], bodies);
    filter(&mut document);
    Ok(document)
}

/// The members of an object; none of anything else.
fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flat_map(Map::iter_mut)
}

/// Adds keywords to a schema, in place of those that are there.
fn merge(schema: &mut Value, form: Value) {
    let nullable = is_nullable(schema);
    if let (Some(schema), Value::Object(form)) = (schema.as_object_mut(), form) {
        for (keyword, mut value) in form {
            if let (true, "enum", Some(values)) = (nullable, &*keyword, value.as_array_mut()) {
                values.push(Value::Null);
            }
            // Entries that a patch may take away.
            if schema.get(&keyword).is_some_and(is_nullable) && value["type"] == "string" {
                value["type"] = json!(["string", "null"]);
            }
            schema.insert(keyword, value);
        }
    }
}

fn is_nullable(schema: &Value) -> bool {
    let types = schema["type"].as_array();
    types.is_some_and(|types| types.iter().any(|one| one == "null"))
}

/// Takes null out of what a schema allows.
fn never_null(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array() {
        let other = types.iter().find(|one| *one != "null").cloned();
        schema["type"] = other.unwrap_or_default();
    }
}

fn parameters(operation: &mut Value) {
    let name = operation["operationId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let all = operation
        .get_mut("parameters")
        .and_then(Value::as_array_mut);
    for parameter in all.into_iter().flatten() {
        let of = parameter["name"].as_str().unwrap_or_default().to_owned();
        // There is no null in a query, nor in a header.
        never_null(&mut parameter["schema"]);
        if parameter["in"] == "path" {
            continue;
        }
        let is_text = parameter["schema"]["type"] == "string";
        let known = forms::parameter(&name, &of);
        if let Some(form) = known.or_else(|| is_text.then(forms::any_text)) {
            merge(&mut parameter["schema"], form);
        }
    }
}

/// The collection that a path is of: `keys` of `/v1/keys/{id}/revoke`.
fn collection(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

/// What an object's path says of its id, and that changes can be bound to a version.
fn if_match(path: &str, method: &str, operation: &mut Value) {
    let of = collection(path);
    let kind = forms::COLLECTIONS.iter().find(|(name, _)| *name == of);
    let Some(Value::Array(parameters)) = operation.get_mut("parameters") else {
        return;
    };
    for parameter in parameters.iter_mut().filter(|one| one["in"] == "path") {
        let form = match (parameter["name"].as_str(), kind) {
            (Some("workspace"), _) => forms::id(crate::domain::id::Kind::Workspace),
            (_, Some((_, kind))) => forms::id(*kind),
            (_, None) => continue,
        };
        merge(&mut parameter["schema"], form);
    }
    if path.ends_with("/{id}")
        && VERSIONED.contains(&of)
        && matches!(method, "patch" | "put" | "delete")
    {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "`ETag` of the version that is to be changed; with another one the answer is 412.",
            "schema": {"type": "string", "pattern": "^(\\*|\"[0-9]{1,19}\")$"},
        }));
    }
}

/// A body may be left out, but is never null.
fn request_body(operation: &mut Value, found: &mut BTreeSet<String>) {
    let contents = operation.pointer_mut("/requestBody/content").map(members);
    for (_, content) in contents.into_iter().flatten() {
        let schema = &mut content["schema"];
        let real = schema["oneOf"].as_array().and_then(|all| {
            let mut real = all.iter().filter(|one| one["type"] != "null");
            real.next().cloned()
        });
        if let Some(real) = real {
            *schema = real;
        }
        referred(schema, found);
    }
}

/// Names of the schemas that a schema refers to.
fn referred(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                found.extend(target.rsplit('/').next().map(str::to_owned));
            }
            fields.values().for_each(|value| referred(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| referred(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Header fields of answers; and refusals, which are alike everywhere, stand in the document once.
fn answers(operation: &mut Value, refusals: &mut Map<String, Value>) {
    for (status, answer) in members(&mut operation["responses"]) {
        if let Some(headers) = headers(status) {
            answer["headers"] = headers;
        }
        if matches!(status.as_bytes().first(), Some(b'4' | b'5')) {
            let name = format!("Refused{status}");
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            refusals.insert(name, std::mem::replace(answer, reference));
        }
    }
}

fn headers(status: &str) -> Option<Value> {
    let header = |words: &str, required: bool| json!({"description": words, "required": required, "schema": {"type": "string"}});
    Some(match status {
        "200" => json!({"ETag": header("The object's version", false)}),
        "201" => json!({
            "ETag": header("The object's version", false),
            "Location": header("Where the new object is", true),
        }),
        "401" => json!({"WWW-Authenticate": header("`Bearer`", true)}),
        "429" | "503" => json!({"Retry-After": header("Seconds to wait", true)}),
        _ => return None,
    })
}

/// Operations on one object, by collection: what the reply that makes one leads to.
fn link_targets(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let mut found = Vec::new();
    for (path, operations) in paths {
        let rest = path.split('/').skip(3).collect::<Vec<_>>();
        if rest.first() != Some(&"{id}") || path.matches('{').count() > 1 {
            continue;
        }
        for operation in operations.as_object().into_iter().flat_map(Map::values) {
            let name = operation["operationId"].as_str().unwrap_or_default();
            found.push((collection(path).to_owned(), name.to_owned()));
        }
    }
    found
}

fn links(path: &str, operation: &mut Value, targets: &[(String, String)]) {
    let of = collection(path);
    let Some(made) = operation.pointer_mut("/responses/201") else {
        return;
    };
    let schema = made.pointer("/content/application~1json/schema/$ref");
    let holds_secret = schema
        .and_then(Value::as_str)
        .is_some_and(|name| name.ends_with("WithSecret"));
    let place = if holds_secret {
        format!("$response.body#/{}/id", of.trim_end_matches('s'))
    } else {
        "$response.body#/id".to_owned()
    };
    let to = targets.iter().filter(|(collection, _)| collection == of);
    let links: Map<String, Value> = to
        .map(|(_, name)| {
            (
                name.clone(),
                json!({"operationId": name, "parameters": {"id": place}}),
            )
        })
        .collect();
    made["links"] = links.into();
}

/// What is brought in has the fields of a new key too. A bad item is no bad request: its fault stands in the reply.
fn import(schemas: &mut Value) {
    let new = schemas["NewKey"]["properties"].clone();
    if let Value::Object(new) = new {
        for (name, schema) in new {
            let field = &mut schemas["ImportedKey"]["properties"][&name];
            if field.is_null() {
                *field = schema;
            }
        }
    }
    schemas["ImportedKey"]["additionalProperties"] = false.into();
    schemas["Import"]["additionalProperties"] = false.into();
    let item = schemas["Import"]["properties"]["keys"]["items"].take();
    schemas["Import"]["properties"]["keys"]["items"] = json!({"anyOf": [item, {}]});
}

/// Fields of bodies, and of what stands in them.
fn fields(schemas: &mut Value, mut bodies: BTreeSet<String>) {
    let mut done = BTreeSet::new();
    while let Some(name) = bodies.pop_first() {
        if !done.insert(name.clone()) {
            continue;
        }
        referred(&schemas[&name], &mut bodies);
        let fields = schemas[&name].get_mut("properties").map(members);
        for (field, schema) in fields.into_iter().flatten() {
            if forms::is_never_null(&name, field) {
                never_null(schema);
            }
            if let Some(form) = forms::field(&name, field) {
                merge(schema, form);
            }
        }
        schemas[&name]["additionalProperties"] = false.into();
    }
}

/// A filter in a body has the parameters of the list of keys.
fn filter(document: &mut Value) {
    let parameters = document["paths"]["/v1/keys"]["get"]["parameters"].as_array();
    let filters = parameters.into_iter().flatten().filter_map(|parameter| {
        let name = parameter["name"].as_str()?;
        (!NO_FILTERS.contains(&name)).then(|| (name.to_owned(), parameter["schema"].clone()))
    });
    let filters: Map<String, Value> = filters.collect();
    let filter = &mut document["components"]["schemas"]["BulkAct"]["properties"]["filter"];
    merge(
        filter,
        json!({"properties": filters, "additionalProperties": false}),
    );
    if let Some(filter) = filter.as_object_mut() {
        filter.remove("propertyNames");
    }
}
