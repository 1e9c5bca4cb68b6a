use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_millis(400);

/// A client of a server that treats its one connection as told.
async fn client<F: Future<Output = ()> + Send + 'static>(
    treat: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        treat(stream).await;
    });
    Client::new(&base).with_patience(PATIENCE)
}

/// Uploads more than the buffers on the way can hold.
async fn upload(client: &Client) -> Result<(), Error> {
    let bytes = vec![7; 24 << 20];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let blob = BlobRef::of(&bytes);
    let sent = Arc::new(|_| {}) as Sent;
    client
        .put_from(JobId::default(), blob, file.path(), 0, &sent)
        .await
}

#[tokio::test]
async fn an_upload_may_take_long_as_long_as_it_moves() {
    let client = client(async |mut stream: TcpStream| {
        let mut left: usize = 24 << 20;
        let mut buffer = vec![0; 1 << 20];
        while left > 1 << 20 {
            tokio::time::sleep(PATIENCE / 3).await;
            left = left.saturating_sub(stream.read(&mut buffer).await.unwrap());
        }
        stream
            .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
    });
    // In all it takes longer than that, and no step nearly as long, even on a machine that has other things to do.
    let patient = client.await.with_patience(PATIENCE * 6);
    upload(&patient).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_stands_still_is_given_up() {
    let client = client(async |stream: TcpStream| {
        tokio::time::sleep(PATIENCE * 50).await;
        drop(stream);
    });
    let error = upload(&client.await).await.unwrap_err().to_string();
    assert!(error.contains("nothing moved for 400ms"), "{error}");
}

/// A server that answers each connection with the next of these, and says what it was asked.
async fn scripted(answers: Vec<Vec<u8>>) -> (Client, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            asked.push(String::from_utf8_lossy(&request[..read]).into_owned());
            stream.write_all(&answer).await.unwrap();
        }
        asked
    });
    (Client::new(&base), served)
}

fn answer(head: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// What each connection gets, and whether the right content comes of it.
fn broken_off(bytes: &[u8]) -> Vec<(Vec<Vec<u8>>, bool)> {
    let (whole, part) = (
        "200 OK",
        "206 Partial Content\r\ncontent-range: bytes 60000-99999/100000",
    );
    let other = "206 Partial Content\r\ncontent-range: bytes 0-99999/100000";
    let mut spoilt = bytes.to_vec();
    spoilt[99_999] ^= 1;
    vec![
        (vec![answer(whole, 100_000, bytes)], true),
        (
            vec![
                answer(whole, 100_000, &bytes[..60_000]),
                answer(part, 40_000, &bytes[60_000..]),
            ],
            true,
        ),
        // A server that knows no ranges, or answers with another one, sends the whole.
        (
            vec![
                answer(whole, 100_000, &bytes[..60_000]),
                answer(whole, 100_000, bytes),
            ],
            true,
        ),
        (
            vec![
                answer(whole, 100_000, &bytes[..60_000]),
                answer(other, 100_000, bytes),
            ],
            true,
        ),
        (
            vec![
                answer(whole, 100_000, &bytes[..60_000]),
                answer(part, 40_000, &spoilt[60_000..]),
            ],
            false,
        ),
        (vec![answer(whole, 99_999, &bytes[..99_999])], false),
    ]
}

#[tokio::test]
async fn a_download_that_breaks_off_is_taken_up_and_what_came_is_checked() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let blob = BlobRef::of(&bytes);
    let cases = broken_off(&bytes);
    for (at, (answers, good)) in cases.into_iter().enumerate() {
        let resumes = answers.len() > 1;
        let (client, served) = scripted(answers).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        let done = client.result(JobId::default(), blob, &path).await;
        assert_eq!(done.is_ok(), good, "case {at}: {done:?}");
        assert_eq!(
            std::fs::read(&path).ok(),
            good.then(|| bytes.clone()),
            "case {at}"
        );
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            usize::from(good)
        );
        let asked = served.await.unwrap();
        if resumes {
            assert!(
                asked[1].contains("range: bytes=60000-"),
                "case {at}: {}",
                asked[1]
            );
            let same = format!("if-range: \"{}\"", blob.digest);
            assert!(asked[1].contains(&same), "case {at}: {}", asked[1]);
        }
    }
}

#[tokio::test]
async fn what_an_earlier_download_left_is_used_if_it_is_the_same() {
    let bytes = vec![7; 1000];
    let blob = BlobRef::of(&bytes);
    let part = "206 Partial Content\r\ncontent-range: bytes 600-999/1000";
    for (left, answers) in [
        (vec![7; 600], vec![answer(part, 400, &bytes[600..])]),
        // Something else lay there: all of it comes once more.
        (
            vec![8; 600],
            vec![
                answer(part, 400, &bytes[600..]),
                answer("200 OK", 1000, &bytes),
            ],
        ),
        (vec![8; 2000], vec![answer("200 OK", 1000, &bytes)]),
    ] {
        let (client, served) = scripted(answers).await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        std::fs::write(folder.path().join("result.part"), &left).unwrap();
        client.result(JobId::default(), blob, &path).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        served.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_stands_still_is_given_up() {
    let client = client(async |mut stream: TcpStream| {
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
        stream.write_all(head).await.unwrap();
        tokio::time::sleep(PATIENCE * 50).await;
    });
    let error = client.await.health().await.unwrap_err().to_string();
    assert!(error.contains("nothing moved for 400ms"), "{error}");
}
