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
    let folder = system.folder.join("compose");
    let (accounts, data) = (folder.join("accounts"), folder.join("data"));
    std::fs::create_dir_all(&accounts)?;
    std::fs::create_dir_all(&data)?;
    let shipped = root().join("deploy/mosquitto");
    let (devices, inner) = (free_port()?.to_string(), free_port()?.to_string());
    let here = |text: &str| {
        text.replace("/accounts", &accounts.display().to_string())
            .replace("/mosquitto/data", &data.display().to_string())
            .replace("/deploy", &shipped.display().to_string())
            .replace("listener 1883", &format!("listener {devices} 127.0.0.1"))
            .replace("listener 1884 bridge-listener", &format!("listener {inner} 127.0.0.1"))
            .replace("/run/secrets", &folder.display().to_string())
            .replace("$$", "$")
    };
    let (_, script) = compose
        .split_once("entrypoint: [sh, -euc]\n    command:\n      - |\n")
        .context("the script of the service `accounts`")?;
    let script = script.lines().take_while(|line| line.starts_with("        "));
    let make = here(&script.map(|line| format!("{}\n", line.trim_start())).collect::<String>());
    std::fs::write(
        folder.join("mosquitto.conf"),
        here(&std::fs::read_to_string(shipped.join("compose.conf"))?),
    )?;
    let own = |script: &str| {
        script.replace("chown -R 1883:1883", "[ \"$(id -u)\" != 0 ] || chown -R mosquitto:")
    };
    let script = format!(
        "PATH=$PATH:/usr/sbin; echo bridge > mqtt_password; echo agent > mqtt_agent_password
         for again in 1 2; do
         {make}
         done
         ./account add users/ada/devices/kitchen device
         chown -R 1883:1883 {accounts} {data}
         mosquitto -c {folder}/mosquitto.conf & MOSQUITTO=$!
         on() {{ mosquitto_pub -V 5 -h 127.0.0.1 -q 1 -m 1 \"$@\" 2>&1 || true; }}
         until on -p {inner} -u agent -P agent -t test/topic > output && [ ! -s output ]; do sleep 0.1; done
         echo \"device $(on -p {devices} -u users/ada/devices/kitchen -P device -t users/ada/devices/kitchen/telemetry)\"
         echo \"bridge $(on -p {inner} -u tributary -P bridge -t users/ada/devices/kitchen/alerts)\"
         echo \"stranger $(on -p {devices} -t users/ada/devices/kitchen/telemetry)\"
         kill $MOSQUITTO; wait",
        accounts = accounts.display(),
        data = data.display(),
        folder = folder.display(),
    );
    let output = paste(&folder, &[], &own(&script)).await?;
    assert!(
        output.contains("device \nbridge \nstranger Connection error: Not authorized"),
        "{output}"
    );
    Ok(())
}
