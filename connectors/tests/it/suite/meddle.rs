//! Somebody who acts at the worst moment: between what the connector has read and what it writes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A line to a peer. Before each message of the connector is passed on, `meddle` is told its number (from 1) and
/// what is in it, and the peer waits. Answers the port of 127.0.0.1 that it listens on.
pub async fn meddle(
    (host, port): (String, u16),
    meddle: impl FnMut(usize, &[u8]) + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let near_port = listener.local_addr().unwrap().port();
    let told = std::sync::Arc::new(std::sync::Mutex::new((0, meddle)));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect((host.as_str(), port)).await.unwrap();
            let told = told.clone();
            tokio::spawn(async move {
                let (mut from_near, mut to_near) = near.into_split();
                let (mut from_far, mut to_far) = far.into_split();
                let back = tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut from_far, &mut to_near).await;
                });
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = from_near.read(&mut buffer).await {
                    {
                        let mut told = told.lock().unwrap();
                        let (number, meddle) = &mut *told;
                        *number += 1;
                        meddle(*number, &buffer[..count]);
                    }
                    if to_far.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    near_port
}
