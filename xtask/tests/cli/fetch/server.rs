//! A hub on this machine, which does as a test tells it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What a client asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// With the query.
    pub path: String,
    /// Names in lowercase.
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(found, _)| found == name)?;
        Some(value)
    }

    /// The first byte that is wanted, where not all are.
    pub fn from(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// What is answered: a head, as much of a body as is sent, and whether the connection stays open after it.
#[derive(Clone)]
pub struct Answer {
    pub status: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub hangs: bool,
}

impl Answer {
    /// All of `body`, and the truth about its length.
    pub fn whole(body: &[u8]) -> Self {
        Answer {
            status: "200 OK",
            headers: vec![("Content-Length", body.len().to_string())],
            body: body.to_vec(),
            hangs: false,
        }
    }

    /// `body` from a byte on.
    pub fn rest(body: &[u8], from: usize) -> Self {
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        let mut answer = Self::whole(&body[from..]);
        answer.status = "206 Partial Content";
        answer.headers.push(("Content-Range", range));
        answer
    }

    /// What was asked for, by a server that knows ranges.
    pub fn to(request: &Request, body: &[u8]) -> Self {
        match request.from() {
            None => Self::whole(body),
            Some(from) => Self::rest(body, from),
        }
    }

    /// Another address instead.
    pub fn redirect(address: String) -> Self {
        let mut answer = Self::status("302 Found");
        answer.headers.push(("Location", address));
        answer
    }

    pub fn status(status: &'static str) -> Self {
        let mut answer = Self::whole(b"");
        answer.status = status;
        answer
    }

    /// Breaks off after so many bytes of the body.
    pub fn cut(mut self, length: usize) -> Self {
        self.body.truncate(length);
        self
    }
}

/// A server on a port of its own until it is dropped.
pub struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers each request as `answer` says.
    pub fn new(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let (log, stop) = (Arc::clone(&requests), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            // Those that hang, until the server ends.
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let Some(request) = read(&stream) else {
                    continue;
                };
                locked(&log).push(request.clone());
                let answer = answer(&request);
                // The client may have gone away, as is its right.
                let _ = write(&stream, &answer);
                if answer.hangs {
                    open.push(stream);
                }
            }
        });
        Server {
            address,
            requests,
            ends,
            thread: Some(thread),
        }
    }

    /// Its address under the name of a host.
    pub fn on(&self, host: &str) -> String {
        format!("http://{host}:{}", self.address.port())
    }

    pub fn address(&self) -> String {
        self.on("127.0.0.1")
    }

    /// What was asked for since this was called last.
    pub fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *locked(&self.requests))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes it where it waits for the next.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(requests: &Mutex<Vec<Request>>) -> std::sync::MutexGuard<'_, Vec<Request>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Some(Request { path, headers })
}

fn write(mut stream: &TcpStream, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    stream.write_all(&answer.body)?;
    stream.flush()
}
