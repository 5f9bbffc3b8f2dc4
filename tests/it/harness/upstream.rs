//! An upstream in this process: keeps every request as it came over the wire, answers as told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came over the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Received {
    pub(crate) line: String,
    /// Names as they came, order kept.
    pub(crate) headers: Vec<(String, String)>,
    /// Decoded if it was chunked.
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Number of the connection it came on, from 0.
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    /// The only value of a field; panics when there are two.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect();
        assert!(values.len() <= 1, "{name} is there {} times", values.len());
        values.first().copied()
    }

    /// Everything as one text, for "nowhere in it".
    pub(crate) fn whole(&self) -> String {
        format!(
            "{} {:?} {} {:?}",
            self.line,
            self.headers,
            String::from_utf8_lossy(&self.body),
            self.trailers
        )
    }
}

/// A running upstream; ends when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers `200` with body `ok` to everything, and keeps connections open.
    pub(crate) fn ok() -> Self {
        Self::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec())
    }

    /// Answers with these bytes; an empty answer closes the connection.
    pub(crate) fn answering(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serving(move |stream, keep| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader) {
                let request = keep(request);
                let bytes = answer(&request);
                if bytes.is_empty() || stream.write_all(&bytes).is_err() {
                    return;
                }
            }
        })
    }

    /// Handles each connection with a function of its own; `keep` notes a request and gives it its connection number.
    pub(crate) fn serving(
        handle: impl Fn(&mut TcpStream, &dyn Fn(Received) -> Received) + Send + Sync + 'static,
    ) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), handle)
    }

    /// As [`Upstream::ok`], at an address.
    pub(crate) fn at(address: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self::on(listener, |stream, keep| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read_request(&mut reader) {
                keep(request);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        }))
    }

    fn on(
        listener: TcpListener,
        handle: impl Fn(&mut TcpStream, &dyn Fn(Received) -> Received) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let received: Arc<Mutex<Vec<Received>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let (kept, counted, handle) = (
            Arc::clone(&received),
            Arc::clone(&connections),
            Arc::new(handle),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                stream
                    .set_read_timeout(Some(Duration::from_secs(20)))
                    .unwrap();
                stream.set_nodelay(true).unwrap();
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let (kept, handle) = (Arc::clone(&kept), Arc::clone(&handle));
                std::thread::spawn(move || {
                    let keep = |mut request: Received| {
                        request.connection = number;
                        kept.lock().unwrap().push(request.clone());
                        request
                    };
                    handle(&mut stream, &keep);
                });
            }
        });
        Self {
            address,
            received,
            connections,
        }
    }

    /// Everything received so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Received {
        self.received()
            .last()
            .cloned()
            .expect("the upstream got a request")
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request to its end; `None` at the end of the connection.
pub(crate) fn read_request(reader: &mut impl BufRead) -> Option<Received> {
    let line = read_line(reader)?;
    let headers = read_fields(reader)?;
    let mut request = Received {
        line,
        headers,
        ..Received::default()
    };
    if request.header("transfer-encoding").is_some() {
        loop {
            let size =
                usize::from_str_radix(read_line(reader)?.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                request.trailers = read_fields(reader)?;
                return Some(request);
            }
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).ok()?;
            request.body.extend_from_slice(&chunk[..size]);
        }
    }
    if let Some(length) = request.header("content-length") {
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        request.body = body;
    }
    Some(request)
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).ok()?;
    Some(String::from_utf8_lossy(line.strip_suffix(b"\r\n")?).into_owned())
}

fn read_fields(reader: &mut impl BufRead) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':')?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}
