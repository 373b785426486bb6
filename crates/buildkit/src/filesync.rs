//! Sends the build context and the Dockerfile to the engine: `moby.filesync.v1.FileSync/DiffCopy`.
//!
//! The invariant: entries and bytes are streamed with back-pressure, so a context of any size costs one buffer; an id that
//! was not announced, or asked for twice, ends the transfer. Deliberately elsewhere: which entries (`filter`), and opening
//! them inside the folder (`tree`).

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat as WireStat};
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSync;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::filter::{Filter, WalkError, has_content, walk};
use crate::tree::{Links, Tree};

const CHUNK: usize = 64 * 1024;
/// Packets under way: with [`CHUNK`] this bounds the memory of one transfer to about 2 MiB.
const QUEUE: usize = 32;
/// Transfers at once. A build asks for its Dockerfile, its `.dockerignore` and its context; an engine that asks for more waits.
const TRANSFERS: usize = 6;

/// What a name of the build (`context`, `dockerfile`) stands for.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A folder on this machine.
    Folder(Tree),
    /// A few files held in memory.
    Files(BTreeMap<String, Bytes>),
}

/// The first thing that could not be sent: better told to the user than the engine's echo of it.
pub(crate) type Trouble = Arc<Mutex<Option<String>>>;

/// Serves the sources of one build.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    sources: Arc<HashMap<&'static str, Source>>,
    trouble: Trouble,
    transfers: Arc<Semaphore>,
}

impl Files {
    pub(crate) fn new(sources: HashMap<&'static str, Source>, trouble: Trouble) -> Self {
        Self { sources: Arc::new(sources), trouble, transfers: Arc::new(Semaphore::new(TRANSFERS)) }
    }
}

type Out = mpsc::Sender<Result<Packet, Status>>;
/// Announced files by id; an entry is taken when it is asked for.
type Announced = Arc<Mutex<Vec<Option<String>>>>;

#[tonic::async_trait]
impl FileSync for Files {
    type DiffCopyStream = ReceiverStream<Result<Packet, Status>>;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Self::DiffCopyStream>, Status> {
        let metadata = request.metadata();
        let name = values(metadata, "dir-name").into_iter().next().unwrap_or_default();
        let Some(source) = self.sources.get(name.as_str()).cloned() else {
            return Err(Status::not_found(format!("this build has no folder `{name}`")));
        };
        let asked = Asked {
            include: values(metadata, "include-patterns"),
            exclude: values(metadata, "exclude-patterns"),
            followed: values(metadata, "followpaths"),
        };
        let place = Arc::clone(&self.transfers).acquire_owned().await.expect("the semaphore is never closed");
        let (out, packets) = mpsc::channel(QUEUE);
        let trouble = Arc::clone(&self.trouble);
        let transfer = Transfer { source, out, announced: Announced::default(), trouble, _place: Arc::new(place) };
        tokio::spawn(transfer.run(asked, request.into_inner()));
        Ok(Response::new(ReceiverStream::new(packets)))
    }

    type TarStreamStream = ReceiverStream<Result<Packet, Status>>;

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("only DiffCopy is served"))
    }
}

struct Asked {
    include: Vec<String>,
    exclude: Vec<String>,
    followed: Vec<String>,
}

/// Values of a metadata key, decoded when the engine says that it encoded them.
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let encoded = metadata.get(format!("{key}-encoded")).and_then(|v| v.to_str().ok()).is_some_and(|v| v == "1" || v == "true");
    let texts = metadata.get_all(key).into_iter().filter_map(|value| value.to_str().ok());
    texts
        .map(|text| match encoded {
            true => percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned(),
            false => text.to_owned(),
        })
        .collect()
}

#[derive(Clone)]
struct Transfer {
    source: Source,
    out: Out,
    announced: Announced,
    trouble: Trouble,
    /// Given back when the last thread of the transfer has ended.
    _place: Arc<OwnedSemaphorePermit>,
}

impl Transfer {
    async fn run(self, asked: Asked, mut incoming: Streaming<Packet>) {
        let (ask, queue) = mpsc::unbounded_channel();
        let walker = self.clone();
        tokio::task::spawn_blocking(move || walker.announce(&asked));
        let sender = self.clone();
        tokio::task::spawn_blocking(move || sender.send_files(queue));
        loop {
            let packet = tokio::select! {
                packet = incoming.message() => packet,
                () = self.out.closed() => return,
            };
            let Ok(Some(packet)) = packet else { return };
            match packet.r#type() {
                PacketType::PacketReq => {
                    let taken = lock(&self.announced).get_mut(packet.id as usize).and_then(Option::take);
                    let Some(path) = taken else {
                        self.fail(format!("the engine asked for file number {}, which was not offered", packet.id)).await;
                        return;
                    };
                    if ask.send((packet.id, path)).is_err() {
                        return;
                    }
                }
                PacketType::PacketFin => {
                    // Nobody left to hear it is fine: the engine has said that it is done.
                    self.out.send(Ok(of_type(PacketType::PacketFin))).await.ok();
                    return;
                }
                PacketType::PacketErr => {
                    tracing::debug!(message = %String::from_utf8_lossy(&packet.data), "the engine ended a file transfer");
                    return;
                }
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
    }

    /// Sends one STAT per entry and the empty one that ends the list.
    fn announce(&self, asked: &Asked) {
        let walked = match &self.source {
            Source::Folder(tree) => Filter::new(&asked.include, &asked.exclude, &asked.followed, tree)
                .map_err(WalkError::Refused)
                .and_then(|filter| walk(tree, &filter, &mut |stat| self.announce_one(stat))),
            Source::Files(files) => {
                let all = files.iter().all(|(name, content)| {
                    let size = i64::try_from(content.len()).unwrap_or(i64::MAX);
                    self.announce_one(WireStat { path: name.clone(), mode: 0o644, size, ..WireStat::default() })
                });
                if all { Ok(()) } else { Err(WalkError::Gone) }
            }
        };
        match walked {
            // A closed channel means that the engine is gone, which the solve call reports.
            Ok(()) => self.out.blocking_send(Ok(of_type(PacketType::PacketStat))).unwrap_or(()),
            Err(WalkError::Gone) => {}
            Err(WalkError::Refused(text)) => {
                let packet = self.note(text);
                self.out.blocking_send(Ok(packet)).unwrap_or(());
            }
        }
    }

    fn announce_one(&self, stat: WireStat) -> bool {
        lock(&self.announced).push(has_content(&stat).then(|| stat.path.clone()));
        self.out.blocking_send(Ok(Packet { stat: Some(stat), ..of_type(PacketType::PacketStat) })).is_ok()
    }

    fn send_files(&self, mut queue: mpsc::UnboundedReceiver<(u32, String)>) {
        while let Some((id, path)) = queue.blocking_recv() {
            let sent = match &self.source {
                Source::Files(files) => {
                    let content = files.get(&path).cloned().unwrap_or_default();
                    content.chunks(CHUNK).all(|chunk| self.data(id, chunk))
                }
                Source::Folder(tree) => match self.send_file(tree, id, &path) {
                    Ok(sent) => sent,
                    Err(error) => {
                        let packet = self.note(format!("cannot read `{path}`: {error}"));
                        self.out.blocking_send(Ok(packet)).unwrap_or(());
                        return;
                    }
                },
            };
            if !sent || !self.data(id, &[]) {
                return;
            }
        }
    }

    fn send_file(&self, tree: &Tree, id: u32, path: &str) -> std::io::Result<bool> {
        let mut file = tree.open_file(path, Links::Refused)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(true);
            }
            if !self.data(id, &buffer[..count]) {
                return Ok(false);
            }
        }
    }

    fn data(&self, id: u32, data: &[u8]) -> bool {
        let packet = Packet { id, data: data.to_vec(), ..of_type(PacketType::PacketData) };
        self.out.blocking_send(Ok(packet)).is_ok()
    }

    async fn fail(&self, text: String) {
        let packet = self.note(text);
        // Nobody left to hear it: the note stays for the solve call.
        self.out.send(Ok(packet)).await.ok();
    }

    /// Keeps the first trouble for the user and makes the packet that tells the engine.
    fn note(&self, text: String) -> Packet {
        lock(&self.trouble).get_or_insert_with(|| text.clone());
        Packet { data: text.into_bytes(), ..of_type(PacketType::PacketErr) }
    }
}

fn of_type(kind: PacketType) -> Packet {
    Packet { r#type: kind as i32, ..Packet::default() }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The values stay whole whatever panics: they are only pushed to and taken from.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
