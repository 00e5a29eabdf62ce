//! A client of the service's HTTP interface.

use anyhow::{Context, bail};
use reqwest::{Response, Url};
use serde_json::Value;
use tourbillon_core::problem::Problem;

/// Where the service is.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    base: Url,
    http: reqwest::Client,
}

impl Client {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let mut base = Url::parse(url).with_context(|| format!("`{url}` is not a URL"))?;
        if base.cannot_be_a_base() {
            bail!("`{url}` is not an http URL");
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { base, http })
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The URL below the service's of `segments`, each escaped.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A successful answer, or the problem that the service tells of.
    pub(crate) async fn get(
        &self,
        segments: &[&str],
        query: &[(String, String)],
        accept: &str,
    ) -> anyhow::Result<Response> {
        let request = self.http.get(self.url(segments)).query(query);
        let answer = request.header("accept", accept).send().await;
        let answer = answer.with_context(|| format!("cannot reach {}", self.base))?;
        checked(answer).await
    }

    /// The same for a JSON body.
    pub(crate) async fn post(
        &self,
        segments: &[&str],
        body: &Value,
        accept: &str,
    ) -> anyhow::Result<Response> {
        let request = self.http.post(self.url(segments)).json(body);
        let answer = request.header("accept", accept).send().await;
        let answer = answer.with_context(|| format!("cannot reach {}", self.base))?;
        checked(answer).await
    }

    pub(crate) async fn json(&self, segments: &[&str]) -> anyhow::Result<Value> {
        let answer = self.get(segments, &[], "application/json").await?;
        Ok(answer.json().await?)
    }
}

/// The answer if it is a success, else what is wrong.
pub(crate) async fn checked(answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    bail!("{}", explain(status.as_u16(), &text))
}

/// A refused request in one line, with the rows at fault.
pub(crate) fn explain(status: u16, body: &str) -> String {
    let Ok(problem) = serde_json::from_str::<Problem>(body) else {
        let shown: String = body.chars().take(200).collect();
        return format!("the service answered {status} {shown}");
    };
    let mut text = format!("{} ({status})", problem.detail);
    for row in problem.rows.iter().take(5) {
        let column = row
            .column
            .as_deref()
            .map_or(String::new(), |c| format!(", column {c}"));
        text += &format!("\n  row {}{column}: {}", row.row, row.reason);
    }
    if let Some(held) = problem.more.get("held_back_by") {
        text += &format!("\n  held back by {held}");
    }
    text
}
