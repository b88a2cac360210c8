module github.com/TykTechnologies/tyk-pump

go 1.21

require github.com/TykTechnologies/tyk v0.0.0

replace github.com/TykTechnologies/tyk => ../tyk
