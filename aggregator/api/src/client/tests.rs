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
    client.put_blob(JobId::default(), blob, file.path()).await
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
