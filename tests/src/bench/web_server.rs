//! nginx with TLS 1.3 on loopback, and curl against it: the floor for fetching a file.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use shoal_testnet::process_group::ProcessGroup;

use super::BenchError;
use super::floors::{installed, run, sync_file};

/// What to do where a program is missing.
pub(super) const INSTALL: &str = "apt-get install nginx-light openssl curl";
const NGINX: [&str; 2] = ["nginx", "/usr/sbin/nginx"];
const START_DEADLINE: Duration = Duration::from_secs(10);
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A server that ends when this is dropped.
pub(super) struct WebServer {
    url: String,
    process: Child,
    group: ProcessGroup,
}

impl WebServer {
    /// Serves a file; `None` where nginx, openssl or curl are not installed.
    pub(super) fn start(folder: &Path, file: &Path) -> Result<Option<Self>, BenchError> {
        let Some(nginx) = NGINX.into_iter().find(|nginx| installed(nginx, "-v")) else { return Ok(None) };
        if !installed("curl", "--version") || !installed("openssl", "version") {
            return Ok(None);
        }
        let folder = folder.join("nginx");
        fs::create_dir(&folder).map_err(BenchError::file(&folder))?;
        let mut certificate = Command::new("openssl");
        certificate.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
        certificate.args(["-days", "2", "-subj", "/CN=localhost", "-keyout"]).arg(folder.join("key.pem"));
        run("openssl", certificate.arg("-out").arg(folder.join("certificate.pem")))?;
        // Nobody else takes ports here at random, and if somebody does, nginx says so.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.map_err(BenchError::file("127.0.0.1"))?.port();
        let config = folder.join("nginx.conf");
        fs::write(&config, configuration(&folder, file, port)).map_err(BenchError::file(&config))?;
        let group = ProcessGroup::start().map_err(BenchError::file("/bin/sh"))?;
        let process = spawn(nginx, &config, &folder, &group)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let server = Self { url: format!("https://127.0.0.1:{port}/{name}"), process, group };
        wait_for(port, &folder)?;
        Ok(Some(server))
    }

    /// Downloads the file with curl and makes it durable, in seconds.
    pub(super) fn download(&self, output: &Path) -> Result<f64, BenchError> {
        let started = Instant::now();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--insecure", "--tlsv1.3", "--max-time", "600", "--output"]);
        run("curl", curl.arg(output).arg(&self.url))?;
        sync_file(output)?;
        Ok(started.elapsed().as_secs_f64())
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        // Asked to, the master ends its workers and waits for them; whoever is left goes with the group.
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + STOP_DEADLINE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.group.kill();
        let _ = self.process.wait();
    }
}

fn spawn(nginx: &str, config: &Path, folder: &Path, group: &ProcessGroup) -> Result<Child, BenchError> {
    use std::os::unix::process::CommandExt;
    let log = folder.join("log");
    let open = || fs::File::create(&log).map_err(BenchError::file(&log));
    Command::new(nginx)
        .arg("-c")
        .arg(config)
        .arg("-p")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(open()?)
        .process_group(group.number())
        .spawn()
        .map_err(BenchError::file(nginx))
}

fn wait_for(port: u16, folder: &Path) -> Result<(), BenchError> {
    let end = Instant::now() + START_DEADLINE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > end {
            let words = fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(BenchError::Floor { program: "nginx", words });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn configuration(folder: &Path, file: &Path, port: u16) -> String {
    let root: PathBuf = file.parent().map(Path::to_owned).unwrap_or_default();
    let (folder, root) = (folder.display(), root.display());
    // Started by root, workers would drop to a user that may not read the temporary folder.
    let user = if geteuid().is_root() { "user root;" } else { "" };
    format!(
        "{user}
daemon off;
worker_processes auto;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        root {root};
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_down_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, vec![3; 1_000_000]).unwrap();
        let Some(server) = WebServer::start(folder.path(), &file).unwrap() else {
            return; // Not installed here: the benchmark skips its row as well.
        };
        let output = folder.path().join("output");
        assert!(server.download(&output).unwrap() > 0.0);
        assert_eq!(fs::read(&output).unwrap(), fs::read(&file).unwrap());
    }
}
