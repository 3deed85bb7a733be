//! The hub over HTTP.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use llorch_weights::hub::Repo;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use super::listing::{Entry, Listing};

const ENDPOINT: &str = "https://huggingface.co";

/// Seconds without a byte after which a connection is given up, unless HF_HUB_DOWNLOAD_TIMEOUT says.
const TIMEOUT: f64 = 30.0;

/// A hub, and how to ask it.
pub struct Hub {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl Hub {
    /// The hub at HF_ENDPOINT, asked with HF_TOKEN where there is one.
    pub fn from_env() -> Result<Self> {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let is_secure = endpoint.starts_with("https://");
        ensure!(
            is_secure || endpoint.starts_with("http://"),
            "HF_ENDPOINT: expected the address of a hub as {ENDPOINT}, found {endpoint:?}"
        );
        let timeout = Some(timeout()?);
        let agent = Agent::config_builder()
            .user_agent(concat!("llorch-cpud/", env!("CARGO_PKG_VERSION")))
            // A length that is said is then the file's own.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .https_only(is_secure)
            // Large files lie elsewhere, and whoever keeps them is not given the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_resolve(timeout)
            .timeout_connect(timeout)
            .timeout_per_write(timeout)
            .timeout_per_read(timeout)
            .build();
        Ok(Hub {
            agent: agent.into(),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token: variable("HF_TOKEN"),
        })
    }

    /// What is in a revision of a repository.
    pub fn listing(&self, repo: &Repo, revision: &str) -> Result<Listing> {
        let encoded = revision.replace('/', "%2F");
        let path = format!("api/models/{repo}/revision/{encoded}?blobs=true");
        let mut answer = self.get(&path, 0)?;
        if answer.status() != StatusCode::OK {
            bail!(
                "{repo} at {revision}: {}",
                self.refusal(&answer, "no such repository or revision")
            );
        }
        let json = answer.body_mut().read_to_vec();
        let json = json.with_context(|| format!("{}/{path} broke off", self.endpoint))?;
        Listing::parse(&json)
            .with_context(|| format!("{}/{path} is no listing of a repository", self.endpoint))
    }

    /// A file of a commit from one of its bytes on, or from its start where the server cannot do that: the
    /// answer says which.
    pub fn open(&self, repo: &Repo, commit: &str, file: &Entry, from: u64) -> Result<Download> {
        let name = &file.name;
        let answer = self.get(&format!("{repo}/resolve/{commit}/{name}"), from)?;
        let from = match answer.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if from > 0 => {
                let range = header(&answer, "content-range").unwrap_or("none");
                let expected = format!("bytes {from}-{}/{}", file.size - 1, file.size);
                ensure!(
                    range == expected,
                    "{name}: expected {expected}, found {range:?}"
                );
                from
            }
            _ => bail!("{name}: {}", self.refusal(&answer, "no such file")),
        };
        if let Some(length) = answer.body().content_length() {
            ensure!(
                length == file.size - from,
                "{name}: expected {} bytes as listed, the server has {length}",
                file.size - from
            );
        }
        let body = answer.into_body();
        Ok(Download { from, body })
    }

    fn get(&self, path: &str, from: u64) -> Result<Response<Body>> {
        let address = format!("{}/{path}", self.endpoint);
        let mut request = self.agent.get(&address);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request
            .call()
            .map_err(|error| anyhow!(error).context(format!("no answer from {address}")))
    }

    /// Why the hub gave nothing, and what can be done.
    fn refusal(&self, answer: &Response<Body>, absent: &str) -> String {
        let status = answer.status();
        let advice = match (status, &self.token) {
            // The hub says 401 of what does not exist too, so as not to tell which of the two it is.
            (StatusCode::UNAUTHORIZED, None) => {
                "it does not exist, or needs a token: set HF_TOKEN to one of yours"
            }
            (StatusCode::UNAUTHORIZED, Some(_)) => {
                "it does not exist, or the token in HF_TOKEN is not valid for it"
            }
            (StatusCode::FORBIDDEN, None) => {
                "not for everyone: set HF_TOKEN to a token of yours, and ask for access on the hub"
            }
            (StatusCode::FORBIDDEN, Some(_)) => {
                "the token in HF_TOKEN gives no access to it: ask for access on the hub"
            }
            (StatusCode::NOT_FOUND, _) => absent,
            (StatusCode::TOO_MANY_REQUESTS, _) => "too many requests: try again later",
            _ => "expected 200",
        };
        format!("{} says {status}: {advice}", self.endpoint)
    }
}

/// A file on its way.
pub struct Download {
    /// The first byte that will come.
    pub from: u64,
    pub body: Body,
}

fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

/// What is in an environment variable, if there is anything.
pub fn variable(name: &str) -> Option<String> {
    let value = env::var(name).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn timeout() -> Result<Duration> {
    const NAME: &str = "HF_HUB_DOWNLOAD_TIMEOUT";
    let Some(text) = variable(NAME) else {
        return Ok(Duration::from_secs_f64(TIMEOUT));
    };
    let seconds = text.parse().ok().filter(|&seconds| seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .with_context(|| format!("{NAME}: expected seconds, found {text:?}"))
}
