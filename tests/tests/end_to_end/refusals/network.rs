//! Ports that are taken, bootstrap peers that do not answer, homes that are in use.

use std::net::TcpListener;
use std::time::Duration;

use shoal_testnet::cluster::NodeOptions;
use shoal_testnet::wait;

use crate::support::{DEADLINE, cluster, cluster_with, folder, home, import, nothing_at, refused, run, sample};

#[test]
fn a_port_that_is_taken() {
    run(async {
        let folder = folder();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let address = format!("/ip4/127.0.0.1/tcp/{port}");
        let finished = home(&folder, "home").run(["daemon", "--no-mdns", "--listen", &address]).await.unwrap();
        refused(&finished, 1, &[&port.to_string(), "in use"]);
    });
}

#[test]
fn an_address_that_is_none() {
    run(async {
        let folder = folder();
        for flag in ["--listen", "--bootstrap"] {
            let finished = home(&folder, "home").run(["daemon", flag, "127.0.0.1:80"]).await.unwrap();
            assert_eq!(finished.code, Some(2), "{}", finished.stderr);
            assert!(finished.stderr.contains("127.0.0.1:80"), "{}", finished.stderr);
        }
    });
}

#[test]
fn a_second_daemon_on_a_home() {
    run(async {
        let cluster = cluster(1).await;
        let shoal = cluster.node(0).shoal();
        let finished = shoal.run(["daemon", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"]).await.unwrap();
        refused(&finished, 1, &["running"]);
        assert_eq!(shoal.id().await.unwrap().peer_id, cluster.node(0).peer_id());
    });
}

/// A node must come up before those it bootstraps from do; it says what is wrong, and a fetch that finds nobody
/// says why.
#[test]
fn no_bootstrap_peer_that_answers() {
    run(async {
        let mut cluster = cluster_with(0, NodeOptions::default()).await;
        let dead = {
            let short_lived = self::cluster(1).await;
            short_lived.node(0).addresses()[0].clone()
        };
        let arguments = vec!["--bootstrap".into(), dead.clone().into()];
        let node = cluster.add(NodeOptions { alone: true, arguments, ..NodeOptions::default() }).await.unwrap();
        let shoal = cluster.node(node).shoal();
        let problem = wait::until("the node to notice", DEADLINE, || async {
            let problems = shoal.status().await?.problems;
            Ok(problems.into_iter().find(|problem| problem.contains("bootstrap")))
        });
        problem.await.unwrap();
        let elsewhere = folder();
        let file = sample(elsewhere.path(), "file", 1000, 1);
        let hash = import(&home(&elsewhere, "home"), &file).await.hash.to_string();
        let output = cluster.folder().join("out");
        let arguments = ["fetch", &hash, "--timeout", "2s", "-o", output.to_str().unwrap()];
        refused(&shoal.run(arguments).await.unwrap(), 3, &["bootstrap"]);
        nothing_at(&output);
    });
}

/// The peer that a link names is gone and there is no DHT to ask.
#[test]
fn a_link_to_a_peer_that_is_gone() {
    run(async {
        let folder = folder();
        let file = sample(folder.path(), "file", 1000, 2);
        let link = {
            let cluster = cluster(1).await;
            cluster.node(0).shoal().publish(&file).await.unwrap().link
        };
        let output = folder.path().join("out");
        let shoal = home(&folder, "home").with_deadline(Duration::from_secs(60));
        let finished = shoal.run(["fetch", &link, "--timeout", "3s", "-o", output.to_str().unwrap()]).await.unwrap();
        refused(&finished, 3, &["no provider"]);
        nothing_at(&output);
    });
}
