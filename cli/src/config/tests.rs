//! Which layer wins, and what is refused.

use super::*;
use crate::exit::{code_of, fix_of};

struct Scene {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
    context: Option<&'static str>,
}

impl Scene {
    fn new(system: &str, user: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("system"), system).unwrap();
        std::fs::write(dir.path().join("user"), user).unwrap();
        Self {
            dir,
            variables: Vec::new(),
            context: None,
        }
    }

    fn read(&self) -> Result<Config> {
        let variable = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Config::read(&Sources {
            system: self.dir.path().join("system"),
            user: self.dir.path().join("user"),
            variable: &variable,
            context: self.context.map(str::to_owned),
        })
    }

    fn says(&self, name: &str, value: &str, origin: &str) {
        let config = self.read().unwrap();
        let valued = config.get(name).unwrap();
        let found = (valued.value.as_deref(), valued.origin.to_string());
        assert_eq!(found.0, Some(value), "{name} from {}", found.1);
        assert!(found.1.ends_with(origin), "{name} from {}", found.1);
    }
}

#[test]
fn each_layer_overrides_those_before_it() {
    let contexts = "[contexts.home]\nurl = \"http://home:1\"\nkey = \"home\"\n";
    let mut scene = Scene::new("", "");
    scene.says("aggregator", "http://127.0.0.1:7700", "default");
    scene = Scene::new("aggregator = \"http://system:1\"", "");
    scene.says("aggregator", "http://system:1", "system");
    scene = Scene::new(
        "aggregator = \"http://system:1\"",
        "aggregator = \"http://user:1\"",
    );
    scene.says("aggregator", "http://user:1", "user");
    let user = format!("aggregator = \"http://user:1\"\ncontext = \"home\"\n{contexts}");
    scene = Scene::new("aggregator = \"http://system:1\"", &user);
    scene.says("aggregator", "http://home:1", "context home");
    scene.says("key", "home", "context home");
    scene.variables = vec![("ASSAY_AGGREGATOR", "http://variable:1")];
    scene.says("aggregator", "http://variable:1", "ASSAY_AGGREGATOR");
    scene.says("key", "home", "context home");
    scene.context = Some("home");
    scene.says("aggregator", "http://home:1", "context home");
    scene.says("context", "home", "--context");
    scene.context = None;
    scene.variables = vec![("ASSAY_CONTEXT", "away")];
    let error = scene.read().unwrap_err();
    assert!(
        format!("{error:#}").contains("chosen by ASSAY_CONTEXT"),
        "{error:#}"
    );
}

#[test]
fn what_a_file_says_wrongly_is_refused_with_its_place_and_a_fix() {
    for (text, words, fix) in [
        (
            "agregator = \"http://a\"",
            "there is no setting \"agregator\"",
            "did you mean aggregator?",
        ),
        (
            "aggregator = \"a:7700\"",
            "must begin with http://",
            "assay config set aggregator",
        ),
        ("aggregator = 7700", "must be a text in quotes", ""),
        (
            "key = \"k\"\nmax_price = \"lots\"",
            "max_price = \"lots\"",
            "assay config set max_price",
        ),
        (
            "key = \"k\"\naggregator = \"http",
            "line 2",
            "correct the line",
        ),
        (
            "[contexts.a]\nurll = \"http://a\"",
            "contexts.a.urll",
            "did you mean url?",
        ),
        ("[contexts.a]\nkey = \"k\"", "contexts.a.url is missing", ""),
        ("contexts = 3", "contexts must be a table", ""),
        (
            "context = \"hom\"\n[contexts.home]\nurl = \"http://a\"",
            "there is no context \"hom\"",
            "did you mean home?",
        ),
    ] {
        let error = Scene::new("", text).read().unwrap_err();
        let said = format!("{error:#}");
        assert!(said.contains(words), "{text:?}: {said}");
        assert_eq!(code_of(&error), Exit::Usage, "{text:?}");
        let told = fix_of(&error).unwrap_or_default();
        assert!(told.contains(fix), "{text:?}: {told:?}");
    }
}

#[test]
fn a_change_keeps_comments_and_a_wrong_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/config.toml");
    let read = || std::fs::read_to_string(&path).unwrap();
    let set = |name: &'static str, value: Option<&'static str>| {
        let done = move |text: &Text| text.value(name) == value;
        file::edit(&path, |lines| lines.set(name, value), done)
    };
    set("key", Some("a")).unwrap();
    let context = ContextText {
        url: "http://home:1".into(),
        key: Some("k".into()),
    };
    let add = |name: &'static str, context: Option<&ContextText>| {
        let done = |text: &Text| text.contexts.get(name) == context;
        file::edit(&path, |lines| lines.context(name, context), done)
    };
    add("home", Some(&context)).unwrap();
    std::fs::write(&path, format!("# mine\n{}# end\n", read())).unwrap();
    set("hub", Some("https://hub")).unwrap();
    set("key", Some("b \"quoted\"")).unwrap();
    let text = read();
    assert!(text.starts_with("# mine\nkey = "), "{text}");
    assert!(
        text.find("hub").unwrap() < text.find("[contexts").unwrap(),
        "{text}"
    );
    add("home.2", Some(&context)).unwrap();
    add("home", None).unwrap();
    set("hub", None).unwrap();
    let read_back = Text::read(&path).unwrap().unwrap();
    assert_eq!(read_back.value("key"), Some("b \"quoted\""));
    assert_eq!(read_back.value("hub"), None);
    assert_eq!(read_back.contexts.keys().collect::<Vec<_>>(), ["home.2"]);
    // What lines do not show is left to people.
    let inline = "contexts = { home = { url = \"http://h:1\" } }\n";
    for old in [inline, "key = \"half", "hubb = \"x\"\n"] {
        std::fs::write(&path, old).unwrap();
        assert!(add("home", None).is_err(), "{old}");
        assert_eq!(read(), old, "nothing is written");
    }
    let left = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "nothing half written");
}

#[test]
fn the_users_file_is_where_variables_put_it() {
    let of = |variables: &[(&str, &str)]| {
        let found = user_file_of(&|name| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        });
        found.ok().map(|path| path.display().to_string())
    };
    let expected = |path: &str| Some(path.to_owned());
    assert_eq!(
        of(&[("HOME", "/h")]),
        expected("/h/.config/assay/config.toml")
    );
    let xdg = ("XDG_CONFIG_HOME", "/x");
    assert_eq!(of(&[("HOME", "/h"), xdg]), expected("/x/assay/config.toml"));
    let own = ("ASSAY_CONFIG", "f.toml");
    assert_eq!(of(&[("HOME", "/h"), xdg, own]), expected("f.toml"));
    assert_eq!(of(&[]), None);
}
