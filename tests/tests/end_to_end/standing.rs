//! `shoal testnet up`, `status` and `down`, as a new user runs them: without a terminal, with real nodes.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use shoal_node::api::Status;
use shoal_testnet::command::{Finished, Shoal};
use shoal_testnet::process::ProcessMark;
use shoal_testnet::standing::{DownOptions, DownReport, Health, NetworkLook, UpReport, down};
use shoal_testnet::wait;

use crate::support::{DEADLINE, PROGRAM, folder, home, refused, run, same, sample};

/// Stops what a failed test would leave.
struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let options = DownOptions { folder: self.0.to_owned(), remove: false };
        let stop = || tokio::runtime::Runtime::new().unwrap().block_on(down(&options));
        // This very thread may be driving a runtime.
        let _ = std::thread::scope(|scope| scope.spawn(stop).join());
    }
}

async fn testnet(shoal: &Shoal, words: &[&str], network: &Path) -> Finished {
    let arguments = ["testnet"].into_iter().chain(words.iter().copied()).chain(["--dir", network.to_str().unwrap()]);
    shoal.run(arguments.chain(["--json"])).await.unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_network_comes_up_breaks_recovers_and_goes() {
    run(async {
        let folder = folder();
        let network = folder.path().join("net");
        let _cleanup = Cleanup(&network);
        let shoal = home(&folder, "unused");
        let up: UpReport =
            testnet(&shoal, &["up", "--nodes", "3"], &network).await.succeeded().unwrap().json().unwrap();
        assert_eq!(up.nodes.len(), 3);
        assert!(up.nodes.iter().all(|node| node.started && node.resident_bytes > 0 && !node.addresses.is_empty()));

        // Every ordinary command works against any node.
        let node = |n: usize| Shoal::new(PROGRAM, network.join(format!("node-{n}")));
        let file = sample(folder.path(), "file", 3 << 20, 1);
        let published = node(1).publish(&file).await.unwrap();
        let output = folder.path().join("out");
        node(2).fetch(&published.hash.to_string(), &output, &Default::default()).await.unwrap();
        same(&file, &output);
        let status: Status = node(0).status().await.unwrap();
        assert_eq!(status.identity.peer_id, up.nodes[0].peer_id);

        refused(&testnet(&shoal, &["up"], &network).await, 1, &["3 nodes", "already", "testnet down"]);
        refused(&testnet(&shoal, &["up", "--nodes", "4"], &network).await, 2, &["3 nodes", "not 4"]);

        // A crash of two; what is left is kept and the rest comes back in its own homes.
        let kept = ProcessMark::of(up.nodes[1].pid).unwrap();
        for dead in [0, 2] {
            let mark = ProcessMark::of(up.nodes[dead].pid).unwrap();
            signal(mark.pid, Signal::KILL);
            wait::until("its end", DEADLINE, || async { Ok((!mark.is_alive()).then_some(())) }).await.unwrap();
        }
        wait::until("one to be up and two down", DEADLINE, || async {
            let look: NetworkLook = testnet(&shoal, &["status"], &network).await.succeeded()?.json()?;
            let health: Vec<Health> = look.nodes.iter().map(|node| node.health).collect();
            Ok((health == [Health::Down, Health::Up, Health::Down]).then_some(()))
        })
        .await
        .unwrap();
        let again: UpReport = testnet(&shoal, &["up"], &network).await.succeeded().unwrap().json().unwrap();
        let started: Vec<bool> = again.nodes.iter().map(|node| node.started).collect();
        assert_eq!(started, [true, false, true]);
        assert_eq!(again.nodes[2].peer_id, up.nodes[2].peer_id);
        assert!(kept.is_alive());

        // A paused one is seen, and stopped all the same.
        signal(kept.pid, Signal::STOP);
        wait::until("the pause", DEADLINE, || async {
            let look: NetworkLook = testnet(&shoal, &["status"], &network).await.succeeded()?.json()?;
            Ok((look.nodes[1].health == Health::Paused).then_some(()))
        })
        .await
        .unwrap();
        let stopped: DownReport =
            testnet(&shoal, &["down", "--remove"], &network).await.succeeded().unwrap().json().unwrap();
        assert!(stopped.nodes.iter().all(|node| node.pid.is_some() && !node.killed), "{stopped:?}");
        assert!(again.nodes.iter().all(|node| ProcessMark::of(node.pid).is_err()));
        assert!(!network.exists());
        refused(&testnet(&shoal, &["down"], &network).await, 1, &["no network"]);
    });
}

#[test]
fn an_interrupted_start_leaves_no_process() {
    run(async {
        let folder = folder();
        let network = folder.path().join("net");
        let _cleanup = Cleanup(&network);
        let mut command = home(&folder, "unused").command(["testnet", "up", "--nodes", "6", "--dir"]);
        let child = command.arg(&network).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut child = child;
        // In the middle: some nodes run, not all are ready.
        wait::until("a first process", DEADLINE, || async {
            let state = fs::read_to_string(network.join("testnet.json")).unwrap_or_default();
            Ok(state.contains("\"started\"").then_some(()))
        })
        .await
        .unwrap();
        signal(child.id().unwrap(), Signal::INT);
        let status = child.wait().await.unwrap();
        let needle = network.to_str().unwrap();
        let left = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
            let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(needle)
        });
        assert_eq!((left.count(), status.code()), (0, Some(130)));
    });
}

#[test]
fn folders_that_hold_other_things_are_refused() {
    run(async {
        let folder = folder();
        let shoal = home(&folder, "unused");
        fs::write(folder.path().join("letter"), "dear").unwrap();
        refused(&testnet(&shoal, &["up"], folder.path()).await, 2, &["not empty", "--dir"]);
        refused(&testnet(&shoal, &["up", "--nodes", "0"], folder.path()).await, 2, &["--nodes", "0"]);
        refused(&testnet(&shoal, &["status"], folder.path()).await, 1, &["no network"]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    });
}
