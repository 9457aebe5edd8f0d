// SPDX-License-Identifier: MIT OR Apache-2.0

//! A headless Chromium, as far as tests of pages need one: its protocol for tools, over two pipes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Result;

/// Names of programs that are it.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long any answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The browser with one page. It ends with this.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    /// What the page complained of: errors, and what it wrote to its console.
    pub complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

/// The program, if there is one on this machine.
pub fn program() -> Option<&'static str> {
    let runs = |program: &&'static str| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    PROGRAMS.into_iter().find(runs)
}

impl Browser {
    /// Starts it with a window of so many pixels, dark or light.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(program: &str, (width, height): (u32, u32), dark: bool) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        // Descriptors 3 and 4 are its protocol's; a shell can give it these.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null", "sh"])
            .arg(program)
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox"])
            .args(["--disable-gpu", "--hide-scrollbars", "--no-first-run"])
            .args(["--disable-dev-shm-usage", "--disable-extensions"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            // Whatever it leaves goes with its profile; and its own children end with it.
            .env("TMPDIR", profile.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let to = process.stdin.take().ok_or("no pipe")?;
        let output = process.stdout.take().ok_or("no pipe")?;
        let (tell, from) = channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0) {
                let message = message
                    .ok()
                    .and_then(|text| serde_json::from_slice(&text).ok());
                if message.is_none_or(|message| tell.send(message).is_err()) {
                    break;
                }
            }
        });
        let mut browser = Self {
            process,
            to,
            from,
            session: None,
            last: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let target = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &target)?;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in [
            "Page.enable",
            "Runtime.enable",
            "Log.enable",
            "Network.enable",
        ] {
            browser.call(domain, &json!({}))?;
        }
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        browser.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.call("Emulation.setEmulatedMedia", &media)?;
        Ok(browser)
    }

    /// Opens a page of ours, and waits until it has drawn what it has. Gives how long that took from the beginning of loading, by
    /// the page's own clock.
    ///
    /// # Errors
    /// It never does.
    pub fn open(&mut self, page: &Path) -> Result<Duration> {
        self.go(page)?;
        let ready = self.wait("document.documentElement.dataset.ready")?;
        let ready = ready.as_str().ok_or("not a number")?.parse()?;
        Ok(Duration::from_millis(ready))
    }

    /// Begins to open a page of ours.
    ///
    /// # Errors
    /// There is none.
    pub fn go(&mut self, page: &Path) -> Result {
        let url = format!("file://{}", page.canonicalize()?.display());
        self.call("Page.navigate", &json!({"url": url})).map(drop)
    }

    /// Waits until an expression is true, and gives what it is then.
    ///
    /// # Errors
    /// It never is.
    pub fn wait(&mut self, expression: &str) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        // The page draws in between: each question waits for a frame of it.
        let question = format!(
            "new Promise(done => requestAnimationFrame(() => done((() => {{ try {{ return {expression}; }} catch {{ return null; }} }})())))"
        );
        loop {
            // Amid a page's loading there may be nothing to ask.
            let value = self.evaluate(&question);
            match value {
                Ok(Value::Null | Value::Bool(false)) | Err(_) if Instant::now() < end => {}
                Ok(Value::Null | Value::Bool(false)) => {
                    let complaints = &self.complaints;
                    return Err(format!("`{expression}` never was true: {complaints:?}").into());
                }
                other => return other,
            }
        }
    }

    /// Waits until the page complains, and gives what it says.
    ///
    /// # Errors
    /// It never does.
    pub fn complaint(&mut self) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while self.complaints.is_empty() && Instant::now() < end {
            self.evaluate("new Promise(done => requestAnimationFrame(() => done(1)))")?;
        }
        let first = self.complaints.first();
        Ok(first.ok_or("the page complained of nothing")?.clone())
    }

    /// What an expression comes to on the page.
    ///
    /// # Errors
    /// It fails.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &asked)?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(format!("{expression}: {thrown}").into()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Clicks on the middle of an element.
    ///
    /// # Errors
    /// There is none.
    pub fn click(&mut self, selector: &str) -> Result {
        let place = self.evaluate(&format!(
            "(() => {{ const one = document.querySelector({}); one.scrollIntoView({{block: 'center'}}); const box = one.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()",
            json!(selector)
        ))?;
        let (x, y) = (&place[0], &place[1]);
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let button = if kind == "mouseMoved" { "none" } else { "left" };
            let event = json!({"type": kind, "x": x, "y": y, "button": button, "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event)?;
        }
        Ok(())
    }

    /// Presses a key.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn press(&mut self, key: &str) -> Result {
        let text = if key.len() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "text": text});
            self.call("Input.dispatchKeyEvent", &event)?;
        }
        Ok(())
    }

    /// A picture of the window, as PNG in base64.
    ///
    /// # Errors
    /// The browser is gone.
    pub fn screenshot(&mut self, whole: bool) -> Result<String> {
        let asked = json!({"format": "png", "captureBeyondViewport": whole});
        let answer = self.call("Page.captureScreenshot", &asked)?;
        Ok(answer["data"].as_str().ok_or("no picture")?.to_owned())
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(message.to_string().as_bytes())?;
        self.to.write_all(&[0])?;
        self.to.flush()?;
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.from.recv_timeout(left);
            let mut answer = answer.map_err(|error| format!("{method}: {error}"))?;
            if answer["id"] == self.last {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}").into()),
                    None => Ok(answer["result"].take()),
                };
            }
            self.hear(&answer);
        }
    }

    /// Keeps what the page complains of, and what it asks the network for.
    fn hear(&mut self, event: &Value) {
        let parameters = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => parameters["exceptionDetails"].to_string(),
            Some("Runtime.consoleAPICalled") => parameters["args"].to_string(),
            Some("Log.entryAdded") => parameters["entry"].to_string(),
            Some("Network.requestWillBeSent") => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                match url.starts_with("file:") || url.starts_with("about:") {
                    true => return,
                    false => format!("asks for {url}"),
                }
            }
            _ => return,
        };
        self.complaints.push(complaint);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // What is gone already is gone. Nobody of it writes to its profile any more when that is removed.
        let group = self.process.id().try_into().map(Pid::from_raw);
        let _ = group.map(|group| killpg(group, Signal::SIGKILL));
        let _ = self.process.wait();
    }
}
