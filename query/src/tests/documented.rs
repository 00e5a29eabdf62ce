//! The OpenAPI document and what the handlers take.

use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::*;

fn parameters(api: &OpenApi, path: &str) -> Vec<Value> {
    let document = serde_json::to_value(api).unwrap();
    let parameters = document["paths"][path]["get"]["parameters"].as_array();
    let parameters = parameters.unwrap().iter();
    let query = parameters.filter(|parameter| parameter["in"] == "query");
    query.cloned().collect()
}

/// A handler names the parameters that it takes when it refuses another one.
#[tokio::test(start_paused = true)]
async fn documented_parameters_are_those_that_are_taken() {
    let (_, bench) = mixed(65, 1).await;
    let api = crate::http::api();
    let of_stream = |name| format!("/v1/streams/{{stream}}/{name}");
    let names = ["window", "bars", "subscribe", "rejects", "files"].map(of_stream);
    for path in names.into_iter().chain(["/v1/asof".to_owned()]) {
        let called = path.replace("{stream}", "ticks");
        let asked = format!("{called}?nope=1");
        let refusal: Value = serde_json::from_slice(&bench.get(&asked, "*/*").await.body).unwrap();
        let refusal = refusal["detail"].as_str().unwrap();
        let (_, known) = refusal.split_once("there are ").unwrap();
        let known = known.replace("key.<column>", "key").replace(" and ", ", ");
        let mut known: Vec<&str> = known.split(',').map(str::trim).collect();
        let documented = parameters(&api, &path);
        let mut documented: Vec<_> = documented
            .iter()
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        known.sort_unstable();
        documented.sort_unstable();
        assert_eq!(documented, known, "{path}");
        // and each only once
        let once = match (known.contains(&"columns"), known.contains(&"limit")) {
            (true, _) => "columns=hlc",
            (false, true) => "limit=1",
            (false, false) => "start=1",
        };
        let required = match path.rsplit('/').next() {
            Some("bars") => "interval=1s&",
            Some("asof") => "left=ticks&right=ticks&",
            _ => "",
        };
        let twice = format!("{called}?{required}{once}&{once}");
        let answer = bench.get(&twice, "*/*").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{twice}");
        assert!(answer.text().contains("twice"), "{}", answer.text());
    }
}

/// Defaults are what the handlers do without, and examples are taken.
#[tokio::test(start_paused = true)]
async fn documented_defaults_change_nothing() {
    let (_, bench) = mixed(66, 1).await;
    let plain = bench.window("", "*/*").await;
    let mut seen = 0;
    for parameter in parameters(&crate::http::api(), "/v1/streams/{stream}/window") {
        assert_eq!(parameter["required"], false, "{parameter}");
        assert!(parameter["description"].is_string(), "{parameter}");
        let name = parameter["name"].as_str().unwrap();
        if let Some(default) = parameter["schema"]["default"].as_str() {
            let answer = bench.window(&format!("{name}={default}"), "*/*").await;
            assert_eq!(answer.status, StatusCode::OK, "{name}");
            assert_eq!(answer.body, plain.body, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4, "time, order, consistency and wait have defaults");
}
