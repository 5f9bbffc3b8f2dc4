//! A client that sends bytes as told and reads one answer at a time; it hides nothing of the protocol.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One answer of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Trailers of a chunked answer.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
    /// The only value of a field; panics when there are two.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let values = self.headers_named(name);
        assert!(values.len() <= 1, "{name} is there {} times", values.len());
        values.first().copied()
    }

    pub(crate) fn headers_named(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .filter(same)
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Its JSON; panics when it has another status.
    pub(crate) fn must(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The stable code of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// One connection.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
            .set_write_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends and gives whether the other side still took it.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Reads one answer to its end.
    pub(crate) fn read(&mut self) -> Answer {
        self.try_read().expect("an answer")
    }

    /// Reads the answer to a HEAD request.
    pub(crate) fn read_head(&mut self) -> Answer {
        self.read_answer(true).expect("an answer")
    }

    /// Reads one answer; `None` when the connection ends before or within it.
    pub(crate) fn try_read(&mut self) -> Option<Answer> {
        self.read_answer(false)
    }

    fn read_answer(&mut self, head_only: bool) -> Option<Answer> {
        let status_line = self.line()?;
        let status = status_line.get(9..12)?.parse().ok()?;
        let headers = self.fields()?;
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        if head_only || status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        if answer.header("transfer-encoding").is_some() {
            loop {
                let size =
                    usize::from_str_radix(self.line()?.split(';').next()?.trim(), 16).ok()?;
                if size == 0 {
                    answer.trailers = self.fields()?;
                    return Some(answer);
                }
                let mut chunk = vec![0; size + 2];
                in_time(self.stream.read_exact(&mut chunk))?;
                answer.body.extend_from_slice(&chunk[..size]);
            }
        }
        if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().ok()?];
            in_time(self.stream.read_exact(&mut body))?;
            answer.body = body;
        } else {
            in_time(self.stream.read_to_end(&mut answer.body))?;
        }
        Some(answer)
    }

    /// One line without its end; `None` at the end of the connection.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        in_time(self.stream.read_until(b'\n', &mut line))?;
        let line = line.strip_suffix(b"\r\n")?;
        Some(String::from_utf8_lossy(line).into_owned())
    }

    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Waits for the next byte or the end; whether it was the end.
    pub(crate) fn is_closed(&mut self) -> bool {
        !matches!(in_time(self.stream.read(&mut [0])), Some(1..))
    }

    /// The next bytes, so many.
    pub(crate) fn exactly(&mut self, bytes: usize) -> Vec<u8> {
        let mut read = vec![0; bytes];
        self.stream.read_exact(&mut read).unwrap();
        read
    }

    /// Everything until the other side closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = in_time(self.stream.read_to_end(&mut rest));
        rest
    }
}

/// `None` when the connection has ended; panics when nothing came in time.
fn in_time<T>(read: io::Result<T>) -> Option<T> {
    read.inspect_err(|fault| {
        let late = matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!late, "neither bytes nor an end came in time");
    })
    .ok()
}
