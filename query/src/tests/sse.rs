//! A client that reads server-sent events.

use axum::body::BodyDataStream;
use futures::StreamExt;
use serde_json::Value;
use tourbillon_core::time::parse_time_ns;

use super::*;

/// An event as it came.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) data: Value,
}

impl Event {
    pub(super) fn complete(&self) -> i64 {
        assert_eq!(self.name, "watermark", "{self:?}");
        parse_time_ns(self.data["complete_through"].as_str().unwrap()).unwrap()
    }

    pub(super) fn numbers(&self, column: &str) -> Vec<i64> {
        let rows = self.data["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| row[column].as_i64().unwrap())
            .collect()
    }
}

/// A client that reads server-sent events.
pub(super) struct Client {
    body: BodyDataStream,
    text: String,
}

impl Client {
    pub(super) async fn on(bench: &Bench, query: &str, last: Option<&str>) -> Self {
        let uri = format!("/v1/streams/ticks/subscribe?{query}");
        let mut request = Request::get(uri);
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = bench.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{query} {last:?}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                break event;
            }
            let part = self.body.next().await?.unwrap();
            self.text += std::str::from_utf8(&part).unwrap();
        };
        let field = |name: &str| {
            let prefix = format!("{name}: ");
            let line = event.lines().find_map(|line| line.strip_prefix(&prefix));
            line.unwrap().to_owned()
        };
        Some(Event {
            name: field("event"),
            id: field("id"),
            data: serde_json::from_str(&field("data")).unwrap(),
        })
    }
}
