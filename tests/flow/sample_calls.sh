#!/usr/bin/env bash
# The sample calls of the reference documents, as printed there, against a running Tidegate. Nothing is changed but
# what a reader of the documents would change: the base URLs and the token (of an administrator: it writes and reads).
#
#   sample_calls.sh write|read GATEWAY_URL API_URL BASE_URL TOKEN FOLDER
#
# BASE_URL is what the documents call <Base_URL>: API_URL/new/webservice, or API_URL alone. Each answer is left in the
# folder as NAME.status, NAME.headers and NAME.body.
set -euo pipefail

part=$1 gateway=$2 api=$3 base=$4 token=$5 folder=$6
mkdir -p "$folder"

swapped() {
    sed -e "s#https://gate.zequenze.com#$gateway#" \
        -e "s#https://control.zequenze.com#$api#" \
        -e "s#https://training.mojonetworks.com/new/webservice#$base#" \
        -e "s#<Base_URL>#$base#" \
        -e "s#YOUR_API_TOKEN#$token#" -e "s#<your-api-token>#$token#"
}

# A curl line as it stands. Every curl line has its token.
sample() {
    local name=$1
    curl() {
        command curl -sS -o "$folder/$name.body" -D "$folder/$name.headers" -w '%{http_code}' "$@" \
            >"$folder/$name.status"
    }
    eval "$(swapped)"
    unset -f curl
}

# A line `GET <address>`, which may be broken behind GET or in front of a slash; a path alone is one of the host above
# its document. The documents say once, for all of them: Authorization: Bearer <token>.
get() {
    local address
    address=$(swapped | tr -d '\n' | sed -e 's/^GET *//')
    case $address in /*) address=$api$address ;; esac
    sample "$1" <<<"curl '$address' -H 'Authorization: Bearer YOUR_API_TOKEN'"
}

if [ "$part" = write ]; then

# app-connection-log-rev4
sample rev4 <<'CALL'
curl -X POST "https://gate.zequenze.com/api/v1/device_app_connection_log/" \
  -H "Authorization: Bearer YOUR_API_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "network_name": "Office WiFi Main",
    "network_type": "wi",
    "network_security": "wp2",
    "frequency": 5.0,
    "authentication": "eap",
    "bssid": "00:1a:2b:3c:4d:5e",
    "roaming": false,
    "latitude": "40.7128",
    "longitude": "-74.0060",
    "inbytes": 1048576,
    "outbytes": 524288,
    "link_speed": 150.0,
    "quality_metric": "rssi",
    "quality_value": -45
  }'
CALL

# app-connection-log-rev3-diff: the page shows two revisions merged; this is the newer one's call
sample rev3 <<'CALL'
curl -X POST "https://gate.zequenze.com/api/v1/device_app_connection_log/" \
  -H "Authorization: Bearer YOUR_API_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "device_id": "DEV-001-XR7H9",
    "application_id": "APP-MOBILE-001",
    "connection_type": "established",
    "timestamp": "2024-01-15T14:30:25Z",
    "ip_address": "192.168.1.105",
    "user_agent": "MobileApp/2.1.0 (iOS 17.0)",
    "status": "success",
    "duration": null,
    "metadata": {
      "location": "Building A - Floor 2",
      "network_type": "WiFi",
      "signal_strength": -45
    }
  }'
CALL

# and the older one's request: its body, behind the headers that it names
sample legacy <<'CALL'
curl -X POST "https://gate.zequenze.com/api/v1/device_app_connection_log/" \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer <your-api-token>" \
  -d '{
  "data": "{\"device_id\": \"dev_12345\", \"app_id\": \"app_67890\", \"connection_type\": \"wifi\", \"connection_status\": \"connected\", \"timestamp\": \"2024-01-15T10:30:00Z\", \"ip_address\": \"192.168.1.100\", \"signal_strength\": -45, \"data_transferred\": 1024}"
}'
CALL

else

# client-connection-logs
get connectionlogs <<'CALL'
GET https://training.mojonetworks.com/new/webservice/V5/devices/clients/connectionlogs?clientmacaddress=60:36:DD:F7:E3:C4
CALL
get connectionlogs-limit <<'CALL'
GET https://training.mojonetworks.com/new/webservice/V5/devices/clients/connectionlogs?clientmacaddress=60:36:DD:F7:E3:C4&limit=2
CALL

# client-events
get clientevents <<'CALL'
GET https://training.mojonetworks.com/new/webservice/V5/devices
/clientevents/68:05:71:A4:EF:0E/2/2
CALL
get clientevents-filtered <<'CALL'
GET https://training.mojonetworks.com/new/webservice/V5/devices
/clientevents/CC:C3:EA:14:99:E4/0/100?totalcountrequired=3&ssid=varsha
CALL

# the page names two dates and gives no example: the month of its own sample
get associationdata <<'CALL'
GET <Base_URL>/V2/analytics/associationdata/2017-09-01/2017-09-30
CALL
get associationdata-file <<<"GET $(cat "$folder/associationdata.body")"

get aps <<'CALL'
GET https://training.mojonetworks.com/new/webservice/v2/devices/aps
CALL
get aps-macaddress <<'CALL'
GET
https://training.mojonetworks.com/new/webservice/v2/devices/aps?macaddress=00:11:74:33:23:12&macaddress=00:11:74:45:12:21
CALL
get aps-filtered <<'CALL'
GET
https://training.mojonetworks.com/new/webservice/v2/devices/aps?capability=49&locationid=10&locationid=12&sortcolumn=devicename&sortascending=false
CALL

# inventory-device-log
get device-logs <<'CALL'
GET /api/v1/inventory_device_log/?datetime__gte=2024-01-01&action=config_change&is_applied=true&limit=10
CALL
get device-log <<'CALL'
GET /api/v1/inventory_device_log/1001/
CALL

fi
