//! Where a process works, and what becomes of that.

use std::os::unix::fs::symlink;
use std::sync::OnceLock;

use futures::FutureExt;
use futures::future::BoxFuture;
use skyclaw_protocol::{Hash, ServiceId};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;
use crate::services::{Bundles, Busy, Services, ServicesConfig, health};
use crate::supervisor::SupervisorConfig;

fn def(cwd: &str) -> ServiceDef {
    ServiceDef { name: "s".into(), cwd: Some(cwd.into()), ..ServiceDef::default() }
}

#[test]
fn a_directory_within_the_instances_own_is_made_each_time() {
    let own = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let made = working_directory(&def("a/./b"), own.path()).unwrap();
        assert_eq!(made, own.path().join("a/./b"));
        assert!(own.path().join("a/b").is_dir());
    }
}

/// A process of the service may have left them; the node makes folders as itself.
#[test]
fn no_directory_is_made_behind_a_link_or_a_file() {
    let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(other.path(), own.path().join("link")).unwrap();
    std::fs::create_dir(own.path().join("a")).unwrap();
    symlink(other.path(), own.path().join("a/b")).unwrap();
    std::fs::write(own.path().join("file"), "").unwrap();
    for cwd in ["link/b", "a/b/c", "a/b", "file/b"] {
        let refused = working_directory(&def(cwd), own.path()).unwrap_err();
        let End::Hopeless(text) = &refused else { unreachable!("{cwd}: {refused:?}") };
        assert!(text.contains(cwd) && text.contains("no open folder"), "{text}");
    }
    assert_eq!(std::fs::read_dir(other.path()).unwrap().count(), 0);
}

/// Unpacks as blobs are unpacked: on its own once begun, whoever still waits for it.
#[derive(Debug, Default)]
struct Slow {
    into: OnceLock<PathBuf>,
    begun: Notify,
    goes_on: Arc<Notify>,
}

impl Bundles for Slow {
    fn fetch_and_unpack<'a>(
        &'a self,
        _hash: Hash,
        into: &'a Path,
        busy: Busy,
    ) -> BoxFuture<'a, Result<(), BundleError>> {
        self.into.set(into.to_owned()).unwrap();
        let (into, goes_on) = (into.to_owned(), Arc::clone(&self.goes_on));
        let unpacking = tokio::spawn(async move {
            goes_on.notified().await;
            std::fs::write(into.join("late"), "").unwrap();
            drop(busy);
        });
        self.begun.notify_one();
        async move {
            unpacking.await.unwrap();
            Ok(())
        }
        .boxed()
    }
}

#[tokio::test]
async fn who_is_stopped_while_its_bundle_unpacks_leaves_that_directory_behind() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::new(SupervisorConfig {
        work_root: Some(dir.path().into()),
        hidden: false,
        ..SupervisorConfig::default()
    });
    // Its folder goes with the last of it.
    let supervisor = supervisor.unwrap();
    let slow = Arc::new(Slow::default());
    let bundles = Arc::clone(&slow) as Arc<dyn Bundles>;
    let home = Arc::<tokio::sync::Mutex<Home>>::default();
    let (stop, until) = (watch::Sender::new(None), watch::Sender::new(None));
    let id = ServiceId::new("s").unwrap();
    let def = ServiceDef { bundle: Some(Hash([7; 32])), ..def("") };
    let process = Process {
        id: InstanceId { service: id.clone(), epoch: 1 },
        attempt: 1,
        order: Box::new(Order { id, ver: 1, slot: 0, epoch: 1, generation: 1, def }),
        inner: Services::new(ServicesConfig::default(), bundles).0,
        supervisor: supervisor.clone(),
        home: Arc::clone(&home),
        log: LogRing::new(1024),
        client: health::client().unwrap(),
        stop: stop.subscribe(),
        until: until.subscribe(),
        up: mpsc::channel(1).0,
    };
    let process = tokio::spawn(process.run());
    slow.begun.notified().await;
    stop.send_replace(Some(Duration::ZERO));
    assert_eq!(process.await.unwrap(), End::Stopped);
    assert!(home.lock().await.space.is_none(), "the next process gets another one");
    let into = slow.into.get().unwrap();
    assert!(into.is_dir(), "it is still written to");
    slow.goes_on.notify_one();
    let gone = async {
        while into.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), gone).await.expect("it is removed after that");
}
