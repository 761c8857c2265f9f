//! The kubeconfig of the administrator.

use base64::Engine as _;

/// The name of cluster, user and context in it.
const NAME: &str = "cresset";

/// Prints a kubeconfig. It holds the token: write it where only its owner can read it.
pub(super) fn print(host: &str, port: u16, authority: &str, token: &str) -> String {
    let authority = base64::engine::general_purpose::STANDARD.encode(authority);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         current-context: {NAME}\n\
         clusters:\n\
         - name: {NAME}\n  \
           cluster:\n    \
             server: https://{host}:{port}\n    \
             certificate-authority-data: {authority}\n\
         users:\n\
         - name: {NAME}-admin\n  \
           user:\n    \
             token: {token}\n\
         contexts:\n\
         - name: {NAME}\n  \
           context:\n    \
             cluster: {NAME}\n    \
             user: {NAME}-admin\n    \
             namespace: default\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_yaml_that_clients_read() {
        let text = print("::1", 6443, "PEM", "secret");
        assert!(text.contains("\n- name: cresset\n  cluster:\n    server: https://[::1]:6443\n"), "{text}");
        assert!(text.contains("\n- name: cresset-admin\n  user:\n    token: secret\n"), "{text}");
    }
}
