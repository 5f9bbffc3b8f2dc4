//! A service that takes nothing but HTTP/1.1 to the letter, and keeps every byte it was sent. Its parser shares nothing with
//! the gateway's, on purpose: what the gateway lets through has to have one meaning for somebody who is less kind than it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request as the strict reader understands it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Vec<(String, String)>,
    /// `none`, `length` or `chunked`.
    pub(super) framing: &'static str,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    /// Its bytes.
    pub(super) raw: Vec<u8>,
}

impl Message {
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        of(&self.fields, name)
    }
}

fn of<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
    fields
        .iter()
        .filter(same)
        .map(|(_, value)| value.as_str())
        .collect()
}

/// What came on one connection.
#[derive(Debug, Default)]
struct Line {
    messages: Vec<Message>,
    /// Bytes behind the last whole message.
    unfinished: Vec<u8>,
    fault: Option<String>,
}

/// The running service; answers each message with its method and target.
pub(super) struct Strict {
    pub(super) address: SocketAddr,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Strict {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lines: Arc<Mutex<Vec<Line>>> = Arc::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let Ok(stream) = stream else { return };
                let kept = Arc::clone(&kept);
                kept.lock().unwrap().push(Line::default());
                std::thread::spawn(move || serve(stream, number, &kept));
            }
        });
        Self { address, lines }
    }

    /// What came that is no message; told once.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut lines = self.lines.lock().unwrap();
        lines
            .iter_mut()
            .filter_map(|line| line.fault.take())
            .collect()
    }

    /// All messages, in the order of connections; panics if anything came that is none.
    pub(super) fn messages(&self) -> Vec<Message> {
        let none: [String; 0] = [];
        assert_eq!(self.faults(), none, "the service got what is no message");
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .flat_map(|line| line.messages.clone())
            .collect()
    }

    /// Bytes of messages that have not ended.
    pub(super) fn unfinished(&self) -> Vec<u8> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .flat_map(|line| line.unfinished.clone())
            .collect()
    }

    /// Forgets what came so far. Connections stay.
    pub(super) fn forget(&self) {
        for line in &mut *self.lines.lock().unwrap() {
            line.messages.clear();
        }
    }
}

fn serve(mut stream: TcpStream, number: usize, lines: &Mutex<Vec<Line>>) {
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_mins(1)))
        .unwrap();
    let mut raw = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut piece).unwrap_or(0);
        raw.extend_from_slice(&piece[..read]);
        let mut answers = Vec::new();
        {
            let line = &mut lines.lock().unwrap()[number];
            loop {
                match message(&raw) {
                    Ok(Some((mut message, length))) => {
                        answers.push(answer(&message));
                        message.raw = raw[..length].to_vec();
                        line.messages.push(message);
                        raw.drain(..length);
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        let text = String::from_utf8_lossy(&raw).into_owned();
                        line.fault = Some(format!("{fault}: {text:?}"));
                        return;
                    }
                }
            }
            line.unfinished.clone_from(&raw);
            if read == 0 {
                // A caller's broken body breaks off here too; that is no message.
                line.unfinished.clear();
                return;
            }
        }
        if stream.write_all(&answers.concat()).is_err() {
            return;
        }
    }
}

fn answer(message: &Message) -> Vec<u8> {
    let text = format!("{} {}", message.method, message.target);
    let body = if message.method == "HEAD" { "" } else { &text };
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        text.len()
    )
    .into_bytes()
}

type Fault = &'static str;

/// The first message and its length; `None`: it has not ended.
pub(super) fn message(raw: &[u8]) -> Result<Option<(Message, usize)>, Fault> {
    let Some((line, mut at)) = line(raw, 0)? else {
        return Ok(None);
    };
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next())
    else {
        return Err("a request line is three words");
    };
    if method.is_empty() || !method.iter().copied().all(is_token) {
        return Err("the method is no token");
    }
    if version != b"HTTP/1.1" {
        return Err("the version is not HTTP/1.1");
    }
    let target = std::str::from_utf8(target).map_err(|_| "the target is no text")?;
    if !(target.starts_with('/') || target == "*" && method == b"OPTIONS") || target.contains('#') {
        return Err("the target is not in origin form");
    }
    let Some((fields, length)) = fields(raw, at)? else {
        return Ok(None);
    };
    at = length;
    let mut message = Message {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target.to_owned(),
        framing: "none",
        fields,
        ..Message::default()
    };
    check(&message)?;
    let declared = message.all("content-length").first().map(|text| {
        let canonical = text.parse::<usize>().ok();
        canonical.filter(|length| length.to_string() == **text)
    });
    if let Some(length) = declared {
        let length = length.ok_or("a length is digits and no more")?;
        message.framing = "length";
        let Some(body) = raw.get(at..at + length) else {
            return Ok(None);
        };
        message.body = body.to_vec();
        return Ok(Some((message, at + length)));
    }
    if message.all("transfer-encoding").is_empty() {
        return Ok(Some((message, at)));
    }
    message.framing = "chunked";
    chunks(raw, at, message)
}

/// What every message has to keep to besides its grammar.
fn check(message: &Message) -> Result<(), Fault> {
    let host = message.all("host");
    let [host] = host[..] else {
        return Err("there is not one Host");
    };
    if host.is_empty() || host.contains(['/', '@', '#', '?', ' ', ',', '\\', '%']) {
        return Err("the host is none");
    }
    let lengths = message.all("content-length").len();
    let codings = message.all("transfer-encoding");
    if lengths + codings.len() > 1 {
        return Err("it is framed twice");
    }
    if codings.first().is_some_and(|coding| *coding != "chunked") {
        return Err("a coding that is not chunked");
    }
    let for_one_hop = [
        "keep-alive",
        "upgrade",
        "proxy-connection",
        "http2-settings",
    ];
    if for_one_hop.iter().any(|name| !message.all(name).is_empty()) {
        return Err("a field of another hop");
    }
    let lookalike = |(name, _): &(String, String)| {
        let name = name.to_ascii_lowercase();
        name.contains('_')
            && ["transfer-encoding", "content-length", "host"].contains(&&*name.replace('_', "-"))
    };
    if message.fields.iter().any(lookalike) {
        return Err("a field that some take for one of framing");
    }
    Ok(())
}

fn chunks(
    raw: &[u8],
    mut at: usize,
    mut message: Message,
) -> Result<Option<(Message, usize)>, Fault> {
    loop {
        let Some((size, data)) = line(raw, at)? else {
            return Ok(None);
        };
        let text = std::str::from_utf8(size).map_err(|_| "a chunk's size is no text")?;
        let size = usize::from_str_radix(text, 16).map_err(|_| "a chunk's size is no number")?;
        if format!("{size:x}") != text {
            return Err("a chunk's size in an odd spelling");
        }
        if size == 0 {
            let Some((trailers, end)) = fields(raw, data)? else {
                return Ok(None);
            };
            message.trailers = trailers;
            return Ok(Some((message, end)));
        }
        let Some(chunk) = raw.get(data..data + size) else {
            return Ok(None);
        };
        message.body.extend_from_slice(chunk);
        match raw.get(data + size..data + size + 2) {
            Some(b"\r\n") => at = data + size + 2,
            Some(_) => return Err("no line end behind a chunk"),
            None => return Ok(None),
        }
    }
}

type Fields = Vec<(String, String)>;

fn fields(raw: &[u8], mut at: usize) -> Result<Option<(Fields, usize)>, Fault> {
    let mut fields = Vec::new();
    loop {
        let Some((text, next)) = line(raw, at)? else {
            return Ok(None);
        };
        at = next;
        if text.is_empty() {
            return Ok(Some((fields, at)));
        }
        let colon = text
            .iter()
            .position(|byte| *byte == b':')
            .ok_or("a field without a colon")?;
        let (name, value) = (&text[..colon], &text[colon + 1..]);
        if name.is_empty() || !name.iter().copied().all(is_token) {
            return Err("a field's name is no token");
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
        fields.push((text(name), text(value)));
    }
}

/// The line that begins here without its CR LF, and where the next begins. No other control byte may stand in it.
fn line(raw: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, Fault> {
    let rest = &raw[from.min(raw.len())..];
    for (place, byte) in rest.iter().enumerate() {
        match byte {
            b'\r' => {
                return match rest.get(place + 1) {
                    Some(b'\n') => Ok(Some((&rest[..place], from + place + 2))),
                    Some(_) => Err("a bare carriage return"),
                    None => Ok(None),
                };
            }
            b'\t' => {}
            0..=0x1f | 0x7f => return Err("a control byte"),
            _ => {}
        }
    }
    Ok(None)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[test]
fn the_strict_reader_is_strict() {
    let good = "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx: y\r\n\r\n";
    let (read, length) = message(good.as_bytes()).unwrap().unwrap();
    assert_eq!((read.body.as_slice(), length), (&b"ab"[..], good.len()));
    for end in 0..good.len() {
        assert_eq!(message(&good.as_bytes()[..end]), Ok(None), "{end}");
    }
    for bad in [
        "GET /a HTTP/1.1\nhost: a\r\n\r\n",
        "GET  /a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx : b\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 07\r\n\r\n1234567",
        "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;a\r\nab\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
    ] {
        assert!(message(bad.as_bytes()).is_err(), "{bad:?}");
    }
}
