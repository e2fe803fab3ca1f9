//! What is refused before anything starts. Runs of real nodes are in the end-to-end tests.

use super::*;

#[tokio::test]
async fn what_this_machine_cannot_do_is_refused_at_once() {
    let refused = async |more: &str, count: usize, word: &str| {
        let text = format!(
            "name = \"x\"\npurpose = \"y\"\n[[nodes]]\nname = \"a\"\ncount = {count}\n[[nodes]]\nname = \"b\"\n{more}\n\
             [[content]]\nname = \"c\"\nsize = \"1\"\n[[publish]]\ncontent = \"c\"\nnodes = \"a\"\n\
             [[fetch]]\ncontent = \"c\"\nnodes = \"a\"\n"
        );
        let scenario = Scenario::parse(&text).unwrap();
        let missing = PathBuf::from("/nowhere/at/all");
        let (publish, shown) = (None, Shown::default());
        let options = RunOptions { program: missing.clone(), liar: missing, seed: 1, publish, shown };
        let mut out = Vec::new();
        let error = run(&scenario, &options, std::future::pending(), &mut out).await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(out.is_empty(), "something was begun");
    };
    refused("", 101, "too many").await;
    refused("liar = \"silent\"", 1, "shoal-liar").await;
}
