module example.org/every

go 1.21

require github.com/TykTechnologies/tyk v5.3.0

replace (
	github.com/TykTechnologies/tyk => github.com/TykTechnologies/tyk v5.3.0 // what some people wrote
	github.com/jensneuse/graphql-go-tools => github.com/TykTechnologies/graphql-go-tools v1.6.2
)
