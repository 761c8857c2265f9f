//! Under which URL the server is reached.

use std::net::SocketAddr;

/// The URL of this machine, where none is configured.
pub fn own_url(addresses: &[SocketAddr]) -> String {
    let Some(address) = addresses.first() else { return String::new() };
    match address.ip() {
        ip if ip.is_unspecified() => {
            let uname = rustix::system::uname();
            format!("http://{}:{}", uname.nodename().to_string_lossy(), address.port())
        }
        _ => format!("http://{address}"),
    }
}

/// The path of a URL, without a slash at its end.
pub fn path_of(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.path().trim_end_matches('/').to_owned())
}
