//! What a worker says aloud. Libraries write to standard error, and a stranger may write there too, so a worker
//! has a pipe and no terminal: nothing typed into it, no escape sequences, and no more than so much.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// Longest line that is repeated, in bytes; a longer one is cut into several.
const LINE_BYTES_MAX: u64 = 1024;

/// Lines of one worker that are repeated. The rest is read, so that it does not block, and dropped.
const LINES_MAX: usize = 256;

/// Repeats what a worker writes as our own log, printable, until it ends.
pub(super) fn relay(worker: Option<u32>, stderr: impl AsyncRead + Send + Unpin + 'static) {
    tokio::spawn(async move {
        let heard = hear(stderr, |line| {
            tracing::warn!(worker, "a worker says: {line}");
        });
        let dropped = heard.await;
        if dropped > 0 {
            tracing::warn!(worker, "a worker said {dropped} lines more");
        }
    });
}

/// Gives each of the first lines to `each`; how many were left out.
async fn hear(stderr: impl AsyncRead + Unpin, mut each: impl FnMut(&str)) -> u64 {
    let mut reader = BufReader::new(stderr);
    let (mut lines, mut dropped) = (0, 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX);
        match { read }.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return dropped,
            Ok(_) if lines < LINES_MAX => {
                lines = lines.saturating_add(1);
                each(&printable(&line));
            }
            Ok(_) => dropped = dropped.saturating_add(1),
        }
    }
}

fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(said: &[u8]) -> (Vec<String>, u64) {
        let mut lines = Vec::new();
        let dropped = hear(said, |line| lines.push(line.to_owned())).await;
        (lines, dropped)
    }

    #[tokio::test]
    async fn lines_are_repeated_printable_and_bounded() {
        let (lines, dropped) = heard(b"one\ntwo \x1b[2J\xff\nrest").await;
        assert_eq!(lines, ["one", "two \\u{1b}[2J\u{fffd}", "rest"]);
        assert_eq!(dropped, 0);

        let long = vec![b'x'; 3 * 1024 - 1];
        let (lines, _) = heard(&long).await;
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [1024, 1024, 1023]
        );

        let (lines, dropped) = heard(&b"again\n".repeat(LINES_MAX + 7)).await;
        assert_eq!((lines.len(), dropped), (LINES_MAX, 7));
    }
}
