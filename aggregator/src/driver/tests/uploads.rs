//! Uploads over connections that break.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use api::client::Client;
use jobs::digest::BlobRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::provider::{Manner, Scripted};
use super::rig::{Rig, TestJob};
use crate::driver::uploads;

const MIB: usize = 1 << 20;

/// Bytes that one break may cost: what of a chunk is not whole on the disk, and what was on its way there.
const OVERLAP: usize = 2 * MIB;

/// The same if the aggregator crashes: what it had not read of its connection's buffers is lost too.
const CRASH_OVERLAP: usize = 9 * MIB;

/// Stands between client and aggregator, and breaks connections.
struct Proxy {
    at: SocketAddr,
    to: Arc<Mutex<SocketAddr>>,
    /// Bytes from the client.
    carried: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
}

impl Proxy {
    /// Breaks those connections that carry more than the next of these bytes; after the last, none.
    async fn start(to: SocketAddr, cuts: &[usize]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            at: listener.local_addr().unwrap(),
            to: Arc::new(Mutex::new(to)),
            carried: Arc::default(),
            cuts: Arc::default(),
        };
        let (to, carried, cut) = (proxy.to.clone(), proxy.carried.clone(), proxy.cuts.clone());
        let limits = cuts.to_vec();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (to, carried, cut) = (*to.lock().unwrap(), carried.clone(), cut.clone());
                let limits = limits.clone();
                tokio::spawn(async move {
                    // Nobody there: the connection breaks at once.
                    if let Ok(server) = TcpStream::connect(to).await {
                        carry(client, server, &limits, &carried, &cut).await;
                    }
                });
            }
        });
        proxy
    }

    fn carried(&self) -> usize {
        self.carried.load(Ordering::Relaxed) as usize
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    limits: &[usize],
    carried: &AtomicU64,
    cuts: &AtomicU64,
) {
    let (mut asks, mut hears) = client.into_split();
    let (mut answers, mut takes) = server.into_split();
    let back = tokio::spawn(async move {
        let _ = tokio::io::copy(&mut answers, &mut hears).await;
    });
    let (mut here, mut buffer) = (0, vec![0; 64 << 10]);
    while let Ok(read) = asks.read(&mut buffer).await {
        if read == 0 || takes.write_all(&buffer[..read]).await.is_err() {
            break;
        }
        here += read;
        carried.fetch_add(read as u64, Ordering::Relaxed);
        let limit = limits.get(cuts.load(Ordering::Relaxed) as usize);
        if limit.is_some_and(|limit| here > *limit) {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    back.abort();
}

/// A job with a large model, submitted, and the model in a file.
async fn submitted(rig: &Rig, size: usize) -> (jobs::ids::JobId, BlobRef, tempfile::NamedTempFile) {
    let mut job = TestJob::new();
    let model: Vec<u8> = (0..size).map(|at| (at / 5 % 251) as u8).collect();
    let blob = BlobRef::of(&model);
    job.package.models = vec![jobs::package::ModelRef {
        name: "m".into(),
        blob,
    }];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &model).unwrap();
    let reply = rig.http.submit(&job.signed(&rig.key)).await.unwrap();
    for (blob, bytes) in &job.blobs {
        rig.upload(reply.job, *blob, bytes).await.unwrap();
    }
    (reply.job, blob, file)
}

async fn market() -> (Rig, [Scripted; 2]) {
    let rig = Rig::new().await;
    rig.fund().await;
    let providers = [
        Scripted::join(1, Manner::Silent, &rig.running).await,
        Scripted::join(2, Manner::Silent, &rig.running).await,
    ];
    (rig, providers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_where_its_connection_broke_off() {
    let (rig, _providers) = market().await;
    let size = 24 * MIB;
    let (job, blob, file) = submitted(&rig, size).await;
    let cuts = [3 * MIB + 17, 5 * MIB, 100, MIB * 7 / 2, 2 * MIB + 1];
    let proxy = Proxy::start(rig.running.http, &cuts).await;
    let client = Client::new(&format!("http://{}", proxy.at)).with_key(&rig.key);
    client.put_blob(job, blob, file.path()).await.unwrap();
    assert_eq!(proxy.cuts.load(Ordering::Relaxed), cuts.len() as u64);
    let most = size + cuts.len() * OVERLAP;
    assert!(proxy.carried() <= most, "{} of {most}", proxy.carried());
    assert_eq!(rig.shared().blobs.read(&blob).unwrap().len(), size);
    // What is there is not sent again.
    let before = proxy.carried();
    client.put_blob(job, blob, file.path()).await.unwrap();
    assert!(proxy.carried() - before < 4096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_goes_on_after_the_aggregator_restarted() {
    let (rig, _providers) = market().await;
    let size = 16 * MIB;
    let (job, blob, file) = submitted(&rig, size).await;
    let proxy = Proxy::start(rig.running.http, &[12 * MIB]).await;
    let client = Client::new(&format!("http://{}", proxy.at)).with_key(&rig.key);
    let path = file.path().to_owned();
    let upload = tokio::spawn(async move { client.put_blob(job, blob, &path).await });
    while proxy.cuts.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    *proxy.to.lock().unwrap() = "127.0.0.1:1".parse().unwrap();
    let rig = rig.restarted(true).await;
    *proxy.to.lock().unwrap() = rig.running.http;
    upload.await.unwrap().unwrap();
    assert!(
        proxy.carried() <= size + CRASH_OVERLAP,
        "{}",
        proxy.carried()
    );
    assert_eq!(rig.shared().blobs.read(&blob).unwrap().len(), size);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_written_by_its_client_from_where_it_is_and_checked_at_its_end() {
    let (rig, _providers) = market().await;
    let (job, blob, file) = submitted(&rig, 3 * MIB).await;
    let bytes = std::fs::read(file.path()).unwrap();
    let route = format!("/jobs/{job}/blobs/{}", blob.digest);
    let put = async |offset: usize, body: &[u8]| {
        let route = format!("{route}?offset={offset}");
        let answer = rig.signed(&rig.key, ("PUT", &route), None, body).await;
        (answer.0, answer.1["code"].clone())
    };
    let received = async || rig.http.upload(job, blob.digest).await.unwrap().received;
    assert_eq!(received().await, 0);
    let beyond = put(MIB, &bytes[MIB..]).await;
    assert_eq!(beyond, (409, "upload-offset".into()));
    let part = put(0, &bytes[..2 * MIB + 5]).await;
    assert_eq!(part, (400, "invalid-request".into()), "it is not whole");
    assert_eq!(received().await, 2 * MIB as u64);
    // Whoever moves the offset on the way breaks the signature.
    let headers =
        super::rig::signed_headers(&rig.key, ("PUT", &format!("{route}?offset=0")), None, b"");
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let moved = rig
        .raw("PUT", &format!("{route}?offset=1048576"), &headers, b"")
        .await;
    assert_eq!(
        (moved.0, &moved.1["code"]),
        (401, &"request-signature".into())
    );
    // A wrong end is found out, and all of it thrown away.
    let wrong = put(2 * MIB, &vec![9; MIB]).await;
    assert_eq!(wrong, (400, "invalid-request".into()));
    assert_eq!(received().await, 0);
    assert_eq!(put(0, &bytes[..MIB]).await.0, 400);
    assert_eq!(put(MIB, &bytes[MIB..]).await.0, 204);
    let view = rig.http.upload(job, blob.digest).await.unwrap();
    assert_eq!((view.received, view.complete), (blob.size, true));
}

/// Bytes of a body, and word when the last was taken.
struct Body<'a>(&'a [u8], Option<oneshot::Sender<()>>);

impl AsyncRead for Body<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (now, rest) = self.0.split_at(self.0.len().min(into.remaining()));
        into.put_slice(now);
        self.0 = rest;
        if let Some(taken) = self.1.take_if(|_| now.is_empty()) {
            taken.send(()).unwrap();
        }
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_while_the_whole_is_checked_has_lost_nothing() {
    let (rig, _providers) = market().await;
    let size = 24 * MIB;
    let (job, blob, file) = submitted(&rig, size).await;
    let (bytes, shared) = (std::fs::read(file.path()).unwrap(), rig.shared());
    let (taken, all) = oneshot::channel();
    tokio::select! {
        biased;
        done = uploads::take(&shared, (job, blob), 0, Body(&bytes, Some(taken))) => {
            panic!("it was not cut off: {done:?}");
        }
        all = all => all.unwrap(),
    }
    // Whoever asks meanwhile is never told to begin anew, and need not send anything again.
    let view = uploads::view(&shared, job, blob);
    assert!(view.received as usize + OVERLAP >= size, "{view:?}");
    let rest = Body(&bytes[view.received as usize..], None);
    let taken = uploads::take(&shared, (job, blob), view.received, rest);
    taken.await.unwrap();
    assert!(uploads::view(&shared, job, blob).complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_without_room_is_refused_by_name_and_others_go_on() {
    let rig = Rig::new().await;
    rig.fund().await;
    let _providers = [
        Scripted::join(1, Manner::Honest, &rig.running).await,
        Scripted::join(2, Manner::Honest, &rig.running).await,
    ];
    let first = rig.run(&TestJob::new().again('1')).await.job;
    assert_eq!(rig.ended(first).await.reason, None);
    rig.until(async |http| http.record(first).await.ok()).await;
    let filler = rig.fill_blobs(64 << 10);
    let model = vec![3; MIB];
    let blob = BlobRef::of(&model);
    let mut large = TestJob::new().again('2');
    large.package.models = vec![jobs::package::ModelRef {
        name: "m".into(),
        blob,
    }];
    let waiting = rig.http.submit(&large.signed(&rig.key)).await.unwrap().job;
    let refused = rig.upload(waiting, blob, &model).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.code.as_str()),
        (507, "storage-full")
    );
    // What is there stays, and a job that fits goes on.
    rig.http.record(first).await.unwrap();
    let small = rig.run(&TestJob::new().again('3')).await.job;
    assert_eq!(rig.ended(small).await.reason, None);
    // With room again, so does the one that waited.
    rig.shared().blobs.remove(&filler.digest).unwrap();
    rig.upload(waiting, blob, &model).await.unwrap();
    assert_eq!(rig.ended(waiting).await.reason, None);
    rig.check_money().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_blobs_another_one_brought_goes_on() {
    let rig = Rig::new().await;
    rig.fund().await;
    let _providers = [
        Scripted::join(1, Manner::Honest, &rig.running).await,
        Scripted::join(2, Manner::Honest, &rig.running).await,
    ];
    let jobs = ['1', '2', '3', '4'].map(|nonce| TestJob::new().again(nonce));
    let mut waiting = Vec::new();
    for job in &jobs {
        waiting.push(rig.http.submit(&job.signed(&rig.key)).await.unwrap().job);
    }
    for (blob, bytes) in &jobs[0].blobs {
        rig.upload(waiting[0], *blob, bytes).await.unwrap();
    }
    assert_eq!(rig.ended(waiting[0]).await.reason, None);
    // One client finds that there is nothing to send of any blob, one that nothing is missing, and one is gone.
    for (blob, _) in &jobs[1].blobs {
        assert!(
            rig.http
                .upload(waiting[1], blob.digest)
                .await
                .unwrap()
                .complete
        );
    }
    assert_eq!(rig.http.missing(waiting[2]).await.unwrap(), Vec::new());
    for job in &waiting[1..] {
        assert_eq!(rig.ended(*job).await.reason, None);
    }
}
