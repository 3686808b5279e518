//! Looks at the first bytes that a server sends, so that a server of another kind is recognised
//! instead of waited for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::error::{NotPostgres, not_postgres};
use crate::sdk::{Advice, ConnectorError, ErrorKind};

/// Longest first message; libpq has the same limit for errors before authentication.
const LONGEST: u32 = 30_000;
/// `SSLRequest`: length 8, code 80877103.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Asks the server to speak TLS next. Errors: `Invalid` when it does not offer it, `Unexpected` when
/// it is no PostgreSQL server, `Unreachable`.
pub async fn request_tls(stream: &mut TcpStream) -> Result<(), ConnectorError> {
    let broken = |error: io::Error| {
        let message = "the server closed the connection while it was being opened";
        ConnectorError::new(ErrorKind::Unreachable, Advice::Later, message).because(error)
    };
    stream.write_all(&SSL_REQUEST).await.map_err(broken)?;
    match stream.read_u8().await.map_err(broken)? {
        b'S' => Ok(()),
        b'N' => Err(ConnectorError::invalid(
            "the server does not offer TLS: switch it on there, or choose ssl_mode disable if the \
             network in between is trusted",
        )),
        _ => Err(not_postgres()),
    }
}

/// A stream whose first message must be one that PostgreSQL can begin with: authentication, error or
/// protocol negotiation, of a sane length.
#[derive(Debug)]
pub struct Greeted {
    stream: TcpStream,
    seen: usize,
    length: u32,
}

impl Greeted {
    pub const fn new(stream: TcpStream) -> Self {
        Self { stream, seen: 0, length: 0 }
    }

    fn accept(&mut self, bytes: &[u8]) -> io::Result<()> {
        for &byte in bytes {
            let fits = match self.seen {
                0 => matches!(byte, b'R' | b'E' | b'v'),
                1..=4 => {
                    self.length = (self.length << 8) | u32::from(byte);
                    self.length <= LONGEST
                }
                _ => return Ok(()),
            };
            if !fits {
                return Err(io::Error::new(io::ErrorKind::InvalidData, NotPostgres));
            }
            self.seen += 1;
        }
        Ok(())
    }
}

impl AsyncRead for Greeted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.accept(buf.filled().get(start..).unwrap_or_default()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
