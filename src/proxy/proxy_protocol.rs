//! The PROXY header, by which a proxy in front of TCP tells whose connection it passes on: versions 1 and 2 of HAProxy's
//! `proxy-protocol.txt`. Read before anything else of a connection, and before TLS.
//!
//! Ours and not a crate's: a header that is not there yet must be told from one that never will be, and no byte behind it
//! may be taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest header of version 1, its line end included (§2.1).
const LONGEST_V1: usize = 107;
/// First bytes of version 2 (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX_V1: &[u8; 6] = b"PROXY ";
/// Fixed part of version 2.
const FIXED: usize = 16;
/// Longest header of version 2 that is read. With the names and certificates that proxies add they have some hundred bytes.
const LONGEST_V2: usize = 4096;
/// Address families and transport of version 2.
const TCP_V4: u8 = 0x11;
const TCP_V6: u8 = 0x21;
const ADDRESSES_V4: usize = 12;
const ADDRESSES_V6: usize = 36;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The connection is the proxy's own, such as a check of health, or it does not know whose it is.
    NoClient,
    /// It comes from here.
    From(SocketAddr),
}

/// The bytes are no PROXY header, and will not become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY header")]
pub struct Fault;

/// Reads a header at the beginning of some bytes: what it says and how long it is. `None`: there is more to come.
///
/// # Errors
/// These bytes do not begin with a header, whatever comes behind them.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    if begins(bytes, SIGNATURE) {
        return version_2(bytes);
    }
    if begins(bytes, PREFIX_V1) {
        return version_1(bytes);
    }
    Err(Fault)
}

/// Whether the bytes begin with all of `start`, or with as much of it as they are long.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    let both = bytes.len().min(start.len());
    bytes[..both] == start[..both]
}

fn version_1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let seen = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        return if seen.len() == LONGEST_V1 {
            Err(Fault)
        } else {
            Ok(None)
        };
    };
    let line = seen[..end].strip_suffix(b"\r").ok_or(Fault)?;
    let line = std::str::from_utf8(line).map_err(|_| Fault)?;
    let header = line.strip_prefix("PROXY ").and_then(said).ok_or(Fault)?;
    Ok(Some((header, end + 1)))
}

/// What stands behind `PROXY ` in version 1.
fn said(text: &str) -> Option<Header> {
    let mut parts = text.split(' ');
    let family = parts.next()?;
    if family == "UNKNOWN" {
        // Whatever is behind it must be ignored (§2.1).
        return Some(Header::NoClient);
    }
    let (from, to) = (parts.next()?, parts.next()?);
    let (from_port, to_port) = (parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let address = |text: &str| match family {
        "TCP4" => Ipv4Addr::from_str(text).ok().map(IpAddr::V4),
        "TCP6" => Ipv6Addr::from_str(text).ok().map(IpAddr::V6),
        _ => None,
    };
    address(to)?;
    port(to_port)?;
    Some(from_here(address(from)?, port(from_port)?))
}

/// A decimal number without signs and leading zeros.
fn port(text: &str) -> Option<u16> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

fn from_here(address: IpAddr, port: u16) -> Header {
    Header::From(SocketAddr::new(address.to_canonical(), port))
}

fn version_2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let Some((&command, rest)) = bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    // The upper half is the version.
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault),
    };
    let [family, high, low, ..] = *rest else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_V2 {
        return Err(Fault);
    }
    let Some(body) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let header = match family {
        TCP_V4 => {
            let at = body.first_chunk::<ADDRESSES_V4>().ok_or(Fault)?;
            check_extensions(&body[ADDRESSES_V4..])?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *at;
            from_here(
                Ipv4Addr::new(a, b, c, d).into(),
                u16::from_be_bytes([high, low]),
            )
        }
        TCP_V6 => {
            let at = body.first_chunk::<ADDRESSES_V6>().ok_or(Fault)?;
            check_extensions(&body[ADDRESSES_V6..])?;
            let from = at.first_chunk::<16>().ok_or(Fault)?;
            from_here(
                Ipv6Addr::from(*from).into(),
                u16::from_be_bytes([at[32], at[33]]),
            )
        }
        // Unspecified, datagrams and sockets of Unix: no client that could be named. Their addresses are skipped (§2.2).
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Header::NoClient,
        _ if local => Header::NoClient,
        _ => return Err(Fault),
    };
    Ok(Some((
        if local { Header::NoClient } else { header },
        length,
    )))
}

/// What follows the addresses has a type, a length and so many bytes (§2.2); what it says is of no use here.
fn check_extensions(mut rest: &[u8]) -> Result<(), Fault> {
    while let [_kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or(Fault)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Fault) }
}

/// Reads the header off a connection, and no byte behind it.
///
/// # Errors
/// There is none, or the connection ends within it.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Header> {
    let mut seen = Vec::with_capacity(LONGEST_V1);
    let mut ahead = [0; LONGEST_V1];
    loop {
        let there = stream.peek(&mut ahead).await?;
        if there == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let known = seen.len();
        seen.extend_from_slice(&ahead[..there]);
        let parsed =
            parse(&seen).map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        // As long as it is incomplete, all that is there belongs to it.
        let taken = parsed.map_or(there, |(_, length)| length - known);
        stream.read_exact(&mut ahead[..taken]).await?;
        if let Some((header, _)) = parsed {
            return Ok(header);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from(text: &str) -> Header {
        Header::From(text.parse().unwrap())
    }

    /// A header of version 2.
    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn whole(bytes: &[u8]) -> Result<Header, Fault> {
        let (header, length) = parse(bytes)?.expect("a whole header");
        assert_eq!(length, bytes.len());
        Ok(header)
    }

    #[test]
    fn version_1_says_where_a_connection_comes_from() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "f".repeat(91));
        assert_eq!(longest.len(), LONGEST_V1);
        let cases = [
            (
                "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n",
                from("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP6 2001:db8::1 fd00::1 1 65535\r\n",
                from("[2001:db8::1]:1"),
            ),
            (
                "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n",
                from("192.0.2.1:1"),
            ),
            ("PROXY UNKNOWN\r\n", Header::NoClient),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Header::NoClient),
            (&longest, Header::NoClient),
        ];
        for (text, want) in cases {
            assert_eq!(whole(text.as_bytes()), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_not_quite_version_1_is_refused() {
        for text in [
            "GET / HTTP/1.1\r\n",
            "proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n",
            "PROXY  TCP4 192.0.2.1 10.0.0.1 1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 1 \r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 65536 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 1\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 01 1\r\n",
            "PROXY TCP4 ::1 ::1 1 1\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 1\r\n",
            "PROXY TCP4 192.0.2.1 x 1 1\r\n",
            "PROXY TCP4 192.0.2.01 10.0.0.1 1 1\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 1\r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Fault), "{text:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "f".repeat(93));
        assert_eq!(parse(endless.as_bytes()), Err(Fault));
    }

    #[test]
    fn version_2_says_where_a_connection_comes_from() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 187];
        assert_eq!(whole(&v2(0x21, TCP_V4, &v4)), Ok(from("192.0.2.1:56324")));
        let extended = [&v4[..], &[4, 0, 3, 1, 2, 3], &[1, 0, 0]].concat();
        assert_eq!(
            whole(&v2(0x21, TCP_V4, &extended)),
            Ok(from("192.0.2.1:56324"))
        );
        let mut v6 = [0; ADDRESSES_V6];
        v6[..16].copy_from_slice(&Ipv6Addr::from_str("::ffff:192.0.2.1").unwrap().octets());
        v6[33] = 9;
        assert_eq!(whole(&v2(0x21, TCP_V6, &v6)), Ok(from("192.0.2.1:9")));
        assert_eq!(whole(&v2(0x20, TCP_V4, &v4)), Ok(Header::NoClient), "LOCAL");
        assert_eq!(whole(&v2(0x20, 0, b"")), Ok(Header::NoClient), "LOCAL");
        assert_eq!(
            whole(&v2(0x21, 0, b"ignored")),
            Ok(Header::NoClient),
            "UNSPEC"
        );
        assert_eq!(
            whole(&v2(0x21, 0x31, &[0; 216])),
            Ok(Header::NoClient),
            "AF_UNIX"
        );
    }

    #[test]
    fn what_is_not_quite_version_2_is_refused() {
        let v4 = [0; ADDRESSES_V4];
        let with = |more: &[u8]| [&v4[..], more].concat();
        for bytes in [
            v2(0x11, TCP_V4, &v4),
            v2(0x22, TCP_V4, &v4),
            v2(0x21, 0x41, &v4),
            v2(0x21, TCP_V4, &v4[..11]),
            v2(0x21, TCP_V6, &v4),
            v2(0x21, TCP_V4, &with(&[4, 0])),
            v2(0x21, TCP_V4, &with(&[4, 0, 1])),
            v2(0x21, TCP_V4, &[0; LONGEST_V2 - FIXED + 1]),
        ] {
            assert_eq!(parse(&bytes), Err(Fault), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_none_are_taken_from_behind(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0..3) {
            let start: &[u8] = [&b""[..], PREFIX_V1, SIGNATURE][usize::try_from(start).unwrap()];
            let bytes = [start, &bytes].concat();
            if let Ok(Some((header, length))) = parse(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(parse(&bytes[..length]), Ok(Some((header, length))));
            }
        }

        #[test]
        fn a_header_in_pieces_is_the_same_header(v6: bool, octets: [u8; 16], port: u16, two: bool, rest in prop::collection::vec(any::<u8>(), 0..20)) {
            let client: IpAddr = if v6 { Ipv6Addr::from(octets).into() } else { Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into() };
            let header = match (two, client) {
                (false, IpAddr::V4(_)) => format!("PROXY TCP4 {client} 10.0.0.1 {port} 443\r\n").into_bytes(),
                (false, IpAddr::V6(_)) => format!("PROXY TCP6 {client} ::1 {port} 443\r\n").into_bytes(),
                (true, IpAddr::V4(v4)) => v2(0x21, TCP_V4, &[&v4.octets()[..], &[0; 4], &port.to_be_bytes(), &[0; 2]].concat()),
                (true, IpAddr::V6(v6)) => v2(0x21, TCP_V6, &[&v6.octets()[..], &[0; 16], &port.to_be_bytes(), &[0; 2]].concat()),
            };
            let all = [&header[..], &rest].concat();
            for end in 0..header.len() {
                prop_assert_eq!(parse(&all[..end]), Ok(None));
            }
            let want = Header::From(SocketAddr::new(client.to_canonical(), port));
            prop_assert_eq!(parse(&all), Ok(Some((want, header.len()))));
        }
    }
}
