//! Requests of registry clients: names and secrets, queries, forms, and bytes that no client library would send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::{Actor, Answer, Server};

/// A registry token just made.
#[derive(Debug, Clone)]
pub struct Minted {
    pub name: String,
    pub secret: String,
    /// Its path in the registries API.
    pub path: String,
}

/// Pairs as a query or a form has them.
pub fn encoded(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Scopes worded as clients ask for them, as the registries API has them.
pub fn scopes(texts: &[&str]) -> Value {
    let scope = |text: &&str| {
        let (r#type, rest) = text.split_once(':').unwrap();
        let (name, actions) = rest.rsplit_once(':').unwrap();
        let actions: Vec<_> = actions.split(',').collect();
        json!({"actions": actions, "name": name, "type": r#type})
    };
    texts.iter().map(scope).collect()
}

impl Actor {
    /// Makes a token with scopes that are worded as clients ask for them.
    pub async fn mint(&self, registry: &str, name: &str, texts: &[&str]) -> Minted {
        self.mint_with(registry, json!({"name": name, "scopes": scopes(texts)}))
            .await
    }

    /// Makes a token with these properties.
    pub async fn mint_with(&self, registry: &str, properties: Value) -> Minted {
        let tokens = format!("/registries/{registry}/tokens");
        let answer = self.post(&tokens, json!({"properties": properties})).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Minted {
            path: format!("{tokens}/{}", text(&answer.json["id"])),
            name: text(&answer.json["properties"]["name"]),
            secret: text(&answer.json["properties"]["credentials"]["password"]),
        }
    }

    /// Asks with a query.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        self.get(&format!("{path}?{}", encoded(query))).await
    }

    /// Sends a form.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(fields));
        self.send(request).await
    }
}

impl Server {
    /// The client of a registry with this token.
    pub fn client(&self, token: &Minted) -> Actor {
        self.actor(&token.name, &token.secret)
    }

    /// Sends bytes as they are, after which nothing follows, and reads an answer: to its announced end, or until the
    /// server closes.
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        // A server that answered early may have closed.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            answer.extend_from_slice(&chunk[..length]);
            if is_whole(&answer) {
                break;
            }
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let mut lines = head.lines();
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .unwrap_or_default();
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        Answer {
            status,
            headers,
            text: text.to_owned(),
            json: serde_json::from_str(text).unwrap_or_default(),
        }
    }
}

/// Has all come that the head announces?
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let announced = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    announced.is_some_and(|length| answer.len() - end - 4 >= length.parse::<usize>().unwrap())
}

impl Answer {
    /// Checks a refusal in the format of the OCI distribution specification, which names `parameter` as wrong.
    /// Returns the message.
    pub fn refused(&self, what: &str, status: u16, code: &str, parameter: Option<&str>) -> String {
        assert_eq!(self.status, status, "{what}: {}", self.text);
        let message = self.json["errors"][0]["message"]
            .as_str()
            .unwrap_or_else(|| panic!("{what}: no message in {}", self.text));
        let mut error = json!({"code": code, "message": message});
        if let Some(parameter) = parameter {
            error["detail"] = json!({ "parameter": parameter });
        }
        assert_eq!(self.json, json!({"errors": [error]}), "{what}");
        assert_eq!(self.header("content-type"), "application/json", "{what}");
        assert_eq!(self.header("cache-control"), "no-store", "{what}");
        assert!(!self.header("x-request-id").is_empty(), "{what}");
        assert!(
            !message.is_empty()
                && message.chars().count() < 500
                && !message.contains("struct ")
                && !message.contains(char::is_control),
            "{what}: {message}"
        );
        message.to_owned()
    }
}
