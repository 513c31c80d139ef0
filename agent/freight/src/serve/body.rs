//! A part of a file, read piece by piece as the other side takes it: a slow reader costs one
//! piece of memory and no thread.

use axum::body::Body;
use futures_core::Stream;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// From `first` up to, not including, `end`.
pub(super) fn part(file: File, first: u64, end: u64) -> Body {
    if first == end {
        return Body::empty();
    }
    Body::from_stream(Part {
        reading: Some(read(file, Some(first), end - first)),
        left: end - first,
    })
}

type Piece = io::Result<(File, Vec<u8>)>;

struct Part {
    reading: Option<JoinHandle<Piece>>,
    left: u64,
}

fn read(mut file: File, seek: Option<u64>, left: u64) -> JoinHandle<Piece> {
    tokio::task::spawn_blocking(move || {
        if let Some(first) = seek {
            file.seek(SeekFrom::Start(first))?;
        }
        let mut piece = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES)];
        // A file that has become shorter ends the connection: the length was promised.
        file.read_exact(&mut piece)?;
        Ok((file, piece))
    })
}

impl Stream for Part {
    type Item = io::Result<Vec<u8>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let read_out = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        match read_out {
            Ok(Ok((file, piece))) => {
                self.left -= piece.len() as u64;
                if self.left > 0 {
                    self.reading = Some(read(file, None, self.left));
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Ok(Err(error)) => Poll::Ready(Some(Err(error))),
            Err(error) => Poll::Ready(Some(Err(io::Error::other(error)))),
        }
    }
}
