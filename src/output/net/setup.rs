//! `imdswatch setup`: the index template, and by name the ingest pipeline, put into Elasticsearch or OpenSearch. What is
//! there is never replaced by something older, and nothing that others made is replaced at all.

use serde_json::{Value, json};

use super::elasticsearch::{Elasticsearch, Flavour};
use super::http::Answer;
use super::settings::Settings;
use super::text::plain;
use crate::output::receiver::Trouble;

/// What [`put`] puts.
pub struct Template<'a> {
    /// The composable index template for each flavour.
    pub body: &'a dyn Fn(Flavour) -> Value,
    /// Its name.
    pub name: &'a str,
    /// Our version.
    pub version: &'a str,
}

/// Puts the template, and the pipeline where the output names one that is not there. Says what it did.
///
/// # Errors
/// [`Trouble`]: nobody there, no right to do so, or a template that is refused.
pub fn put(settings: &Settings, template: &Template<'_>, said: &mut Vec<String>) -> Result<(), Trouble> {
    let mut server = Elasticsearch::new(settings).map_err(|error| Trouble::refused(error.text))?;
    let (flavour, version) = server.flavour()?;
    said.push(format!("{flavour:?} {version} answers"));
    put_template(&mut server, template, flavour, said)?;
    match &settings.pipeline {
        Some(name) => put_pipeline(&mut server, name, said),
        None => Ok(()),
    }
}

fn put_template(
    server: &mut Elasticsearch,
    template: &Template<'_>,
    flavour: Flavour,
    said: &mut Vec<String>,
) -> Result<(), Trouble> {
    let name = template.name;
    let path = format!("{}/_index_template/{name}", server.folder());
    if let Some(found) = get(server, &path)? {
        let meta = &found["index_templates"][0]["index_template"]["_meta"];
        let there = meta["version"].as_str().filter(|_| meta["description"] == OURS);
        match there.map(number) {
            None => {
                said.push(format!("template `{name}` is not ours and was left as it is"));
                return Ok(());
            }
            Some(there) if there > number(template.version) => {
                said.push(format!(
                    "template `{name}` is newer ({}) and was left as it is",
                    plain(&meta["version"].to_string(), 40)
                ));
                return Ok(());
            }
            Some(_) => {}
        }
    }
    change(server, &path, &(template.body)(flavour))?;
    said.push(format!("template `{name}` {} put", template.version));
    Ok(())
}

/// Description of our templates and pipelines.
pub const OURS: &str = "Events of imdswatch";

fn put_pipeline(server: &mut Elasticsearch, name: &str, said: &mut Vec<String>) -> Result<(), Trouble> {
    let path = format!("{}/_ingest/pipeline/{name}", server.folder());
    if get(server, &path)?.is_some() {
        said.push(format!("pipeline `{name}` is there and was left as it is"));
        return Ok(());
    }
    let body = json!({
        "description": OURS,
        "processors": [
            {"set": {"field": "event.ingested", "value": "{{_ingest.timestamp}}"}},
            {"remove": {"field": "@metadata", "ignore_missing": true}},
        ],
    });
    change(server, &path, &body)?;
    said.push(format!("pipeline `{name}` put"));
    Ok(())
}

fn get(server: &mut Elasticsearch, path: &str) -> Result<Option<Value>, Trouble> {
    let (host, answer) = server.ask("GET", path, b"")?;
    match answer.status {
        200 => {
            serde_json::from_slice(&answer.body).map(Some).map_err(|error| Trouble::refused(format!("{host}: {error}")))
        }
        404 => Ok(None),
        _ => Err(refused(&host.to_string(), &answer)),
    }
}

fn change(server: &mut Elasticsearch, path: &str, body: &Value) -> Result<(), Trouble> {
    let (host, answer) = server.ask("PUT", path, body.to_string().as_bytes())?;
    if answer.status == 200 { Ok(()) } else { Err(refused(&host.to_string(), &answer)) }
}

fn refused(host: &str, answer: &Answer) -> Trouble {
    Trouble::refused(format!("{host}: {} {}", answer.status, plain(&String::from_utf8_lossy(&answer.body), 400)))
}

/// A version's numbers, which compare as versions do.
fn number(version: &str) -> Vec<u64> {
    version.split(['.', '-', '+']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(number("0.10.0") > number("0.9.9") && number("1.0.0-rc.1") == number("1.0.0"));
    }
}
