//! The commands of docs/mqtt.md, and the broker that compose.yaml configures.

use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use devservers::testing::free_port;
use tests::{System, tributary};

use crate::readme_commands::{blocks, paste, run_blocks};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[tokio::test]
async fn every_command_of_the_page_works() -> Result<()> {
    let system = System::start().await?;
    let folder = system.folder.join("checkout");
    std::fs::create_dir_all(folder.join("target"))?;
    symlink(
        tributary().parent().context("the executable is in a folder")?,
        folder.join("target/debug"),
    )?;
    symlink(root().join("deploy"), folder.join("deploy"))?;
    let (devices, inner) = (free_port()?.to_string(), free_port()?.to_string());
    let blocks: Vec<String> = blocks("docs/mqtt.md")?
        .iter()
        .map(|block| block.replace("listener 8883", "listener 8883 127.0.0.1"))
        .map(|block| block.replace("8883", &devices).replace("1884", &inner))
        .collect();
    assert_eq!(blocks.len(), 7);
    let mut environment = system.environment.clone();
    let port = free_port()?; // The page starts the server and calls it at a known address.
    environment.push(("PORT".into(), port.to_string()));
    environment.push(("TRIBUTARY_URL".into(), format!("http://127.0.0.1:{port}")));
    environment.push(("TRIBUTARY_TOKEN".into(), system.token.clone()));
    run_blocks(&folder, &environment, &blocks).await?;
    let refused = "select count(*) from log.event where data::jsonb ->> 'device_id' = 'attic'";
    assert_eq!(system.number(refused).await?, 0);
    Ok(())
}

/// Runs its configuration and the script that creates the accounts without containers, with paths
/// of this machine.
#[tokio::test]
async fn the_broker_of_compose_admits_clients_with_an_account() -> Result<()> {
    let system = System::start().await?;
    let compose = std::fs::read_to_string(root().join("compose.yaml"))?;
    let text = |behind: &str| -> Result<String> {
        let (_, rest) = compose.split_once(behind).with_context(|| format!("{behind:?}"))?;
        let lines = rest.lines().skip(1);
        let lines = lines.take_while(|line| line.starts_with("      ")).map(str::trim_start);
        Ok(lines.map(|line| format!("{line}\n")).collect())
    };
    let folder = system.folder.join("compose");
    let (accounts, config) = (folder.join("accounts"), folder.join("config"));
    std::fs::create_dir_all(&accounts)?;
    std::fs::create_dir_all(config.join("conf.d"))?;
    std::fs::create_dir_all(folder.join("data"))?;
    let shipped = root().join("deploy/mosquitto");
    std::fs::copy(shipped.join("tributary.conf"), config.join("conf.d/tributary.conf"))?;
    std::fs::copy(shipped.join("tributary.acl"), config.join("tributary.acl"))?;
    let (devices, inner) = (free_port()?.to_string(), free_port()?.to_string());
    let here = |text: String| {
        text.replace("/accounts", &accounts.display().to_string())
            .replace("/mosquitto/config", &config.display().to_string())
            .replace("/mosquitto/data", &folder.join("data").display().to_string())
            .replace("listener 1883", &format!("listener {devices} 127.0.0.1"))
            .replace("listener 1884", &format!("listener {inner} 127.0.0.1"))
            .replace("$$", "$")
    };
    std::fs::write(config.join("mosquitto.conf"), here(text("    content: |")?))?;
    let make = here(text("entrypoint: [sh, -ec]\n    command:\n      - |")?);
    let own = |script: &str| script.replace("chown -R", "[ \"$(id -u)\" != 0 ] || chown -R");
    let script = format!(
        "PATH=$PATH:/usr/sbin; export MQTT_PASSWORD=bridge MQTT_AGENT_PASSWORD=agent
         for again in 1 2; do
         {make}
         done
         mosquitto_passwd -b {accounts}/passwords users/ada/devices/kitchen device
         chown -R mosquitto: {accounts} {folder}/data
         mosquitto -c {config}/mosquitto.conf & MOSQUITTO=$!
         on() {{ mosquitto_pub -V 5 -h 127.0.0.1 -q 1 -m 1 \"$@\" 2>&1 || true; }}
         until on -p {inner} -u agent -P agent -t test/topic > output && [ ! -s output ]; do sleep 0.1; done
         echo \"device $(on -p {devices} -u users/ada/devices/kitchen -P device -t users/ada/devices/kitchen/telemetry)\"
         echo \"bridge $(on -p {inner} -u tributary -P bridge -t users/ada/devices/kitchen/alerts)\"
         echo \"stranger $(on -p {devices} -t users/ada/devices/kitchen/telemetry)\"
         kill $MOSQUITTO; wait",
        accounts = accounts.display(),
        config = config.display(),
        folder = folder.display(),
    );
    let output = paste(&folder, &[], &own(&script)).await?;
    assert!(
        output.contains("device \nbridge \nstranger Connection error: Not authorized"),
        "{output}"
    );
    Ok(())
}
