// Package foreign holds the module whose tests scripts/foreign.sh builds: what it imports is in go.mod.
package foreign

import _ "github.com/eclipse/paho.mqtt.golang"
