//! The places of one server.

use reqwest::Url;

const EVENT: &str = "/services/collector/event";
const ACK: &str = "/services/collector/ack";
const HEALTH: &str = "/services/collector/health";

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) event: Url,
    pub(super) ack: Url,
    pub(super) health: Url,
}

impl Server {
    /// The server at this address, with method and place of a delivery.
    ///
    /// # Errors
    /// The address, if it is none.
    pub(super) fn new(base: &str) -> Result<(String, Self), String> {
        let url = |path| {
            let url = Url::parse(&format!("{base}{path}")).ok();
            url.filter(Url::has_host).ok_or_else(|| base.to_owned())
        };
        let event = url(EVENT)?;
        let endpoint = format!("POST {}{EVENT}", place(&event));
        let server = Self {
            event,
            ack: url(ACK)?,
            health: url(HEALTH)?,
        };
        Ok((endpoint, server))
    }

    /// Method and place of a question after acknowledgements.
    pub(super) fn ack_endpoint(&self) -> String {
        format!("POST {}{ACK}", place(&self.ack))
    }
}

/// Host and port.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}
