//! The task that writes to the process.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::oneshot;

use super::running::{Frame, Outbox};

/// Small frames that wait together are written together.
const WRITE: usize = 64 * 1024;

/// Writes what the outbox holds until `closing`, then what is left in it, and closes the pipe.
pub(super) async fn write(
    pipe: impl AsyncWrite + Unpin,
    mut outbox: Outbox,
    mut closing: oneshot::Receiver<()>,
) -> io::Result<()> {
    let mut pipe = BufWriter::with_capacity(WRITE, pipe);
    let mut is_closing = false;
    loop {
        let ready = outbox.control.try_recv().ok().map(Frame::own);
        let ready = ready.or_else(|| outbox.frames.try_recv().ok());
        let next = match ready {
            Some(frame) => frame,
            None if is_closing => return pipe.shutdown().await,
            None => {
                pipe.flush().await?;
                tokio::select! {
                    biased;
                    Some(text) = outbox.control.recv() => Frame::own(text),
                    Some(frame) = outbox.frames.recv() => frame,
                    _ = &mut closing => {
                        is_closing = true;
                        outbox.frames.close();
                        continue;
                    }
                }
            }
        };
        if next.call.is_none_or(|call| call.begin_writing()) {
            pipe.write_all(&next.text).await?;
            pipe.write_all(b"\n").await?;
        }
    }
}

// === impl Frame ===

impl Frame {
    fn own(text: Bytes) -> Self {
        Self { text, call: None }
    }
}
